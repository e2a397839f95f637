// SPDX-License-Identifier: Apache-2.0
// What each file of a manifest directory declared when it was last read, and whether it may be read now.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/codec.hpp"
#include "base/clock.hpp"
#include "intake/change_watch.hpp"
#include "intake/directory_reader.hpp"

namespace banger::intake {

enum class FileState {
  Settling,  // it changed a moment ago and may be half written: what it declares is not known now
  Refused,   // it may not be read, or what it says is wrong
  Good,
};

struct KnownFile {
  FileState state = FileState::Settling;
  Fingerprint print;
  SteadyTime print_seen{};  // when this fingerprint was first seen
  bool taken = false;       // state and what follows are those of this fingerprint
  bool racy = false;        // read so soon after its last change that another one could bear the same fingerprint
  std::vector<api::ManifestDocument> documents;  // Good: all of them; Refused: those that are good by themselves
  std::string problem;                           // Refused: a sentence that begins with the file
  std::set<std::string>
      once;  // not Good: names that this very file (its inode) had a moment ago; their objects may still be here
};

struct SettleRules {
  std::chrono::milliseconds unchanged{100};        // two looks this far apart that see the same
  std::chrono::milliseconds unclosed{5'000};       // the same while somebody is known to have it open for writing
  std::chrono::milliseconds remember_gone{2'000};  // for telling a rename from a deletion
};

class FileTable {
 public:
  FileTable(const SettleRules& rules, Clock& clock) : rules_(rules), clock_(clock) {}

  // Takes in one look at the directory. Used-up hints are erased.
  void absorb(const Contents& contents, DirectoryReader& reader, WriterHints& hints);

  [[nodiscard]] const std::map<std::string, KnownFile>& files() const { return files_; }
  [[nodiscard]] const KnownFile* find(const std::string& file) const;

  // Objects of this file must stay: it is there and not understood, it lies where nothing can be read, or it may be the file that
  // now bears another name and is not understood.
  [[nodiscard]] bool is_unknown(const std::string& file) const;

  // When to look again although nothing was heard; nothing: no need.
  [[nodiscard]] std::optional<std::chrono::milliseconds> look_again() const { return look_again_; }
  [[nodiscard]] bool anything_settles() const;

 private:
  struct Gone {
    std::set<std::string> names;
    SteadyTime since{};
  };

  void forget_absent(const Contents& contents);
  void absorb(const Entry& entry, DirectoryReader& reader, WriterHints& hints);
  [[nodiscard]] std::chrono::milliseconds to_wait(const KnownFile& file, std::optional<WriterHint> hint) const;
  void take(const Entry& entry, KnownFile& file, DirectoryReader& reader);
  void look_again_in(std::chrono::milliseconds delay);
  [[nodiscard]] bool changed_just_now(const Fingerprint& print) const;

  const SettleRules rules_;
  Clock& clock_;
  std::map<std::string, KnownFile> files_;
  std::map<std::uint64_t, Gone> gone_;  // by inode
  std::vector<std::string> unreadable_;
  std::optional<std::chrono::milliseconds> look_again_;
};

}  // namespace banger::intake
