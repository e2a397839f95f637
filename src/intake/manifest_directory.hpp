// SPDX-License-Identifier: Apache-2.0
// Keeps the store's objects equal to what the manifests of one directory declare.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "api/event_sink.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "intake/change_watch.hpp"
#include "intake/file_table.hpp"
#include "intake/read_record.hpp"
#include "store/objects.hpp"

namespace banger::intake {

struct PlannedWrite;

struct Options {
  std::string directory;           // absolute
  std::string name = "manifests";  // of the ManifestSource object
  std::chrono::milliseconds rescan{10'000};
  std::size_t writers = 1;  // threads that write what one scan has to write; more than one share the disk's waits
  SettleRules settle;
  // A declaration must be missing this long before its object goes, and removals that follow one another faster count as one:
  // programs replace files by removing and making them, and `rm -r` is not a row of single wishes.
  std::chrono::milliseconds removal_settle{500};
  // Adopt mode (both or none are set). While removals_held() says true, none is decided here, a person's confirmation apart.
  // read_whole() is called after a scan that found the directory whole: all of it was read without an error, every file is in its
  // final state and applied, and it is as full as it is known to have been. That is, it declares something where objects came
  // from it or uids are claimed (Objects::claim); every directory from which objects came or which held a manifest when it was
  // last read whole holds one; and where it is another one than then, it declares all that came from it or is claimed.
  std::function<bool()> removals_held;
  std::function<void()> read_whole;
  std::string record;  // the file where it is kept what was there when the directory was last read whole; empty: nowhere
};

// Level-triggered: a scan looks at everything and needs no memory of earlier ones but what the store holds (who owns an object,
// what was applied last, which directory it was, what waits). A file counts whole or not at all; a file that cannot be
// understood, or is not read yet, keeps its objects as they are. Nothing passed in is owned.
class ManifestDirectory {
 public:
  ManifestDirectory(const Options& options, store::Objects& objects, api::EventSink& events, Clock& clock);
  ~ManifestDirectory();
  ManifestDirectory(const ManifestDirectory&) = delete;
  ManifestDirectory& operator=(const ManifestDirectory&) = delete;

  // One pass. Errors: the store's; the next scan does what is left. Bad files and directories are not errors: the ManifestSource
  // says what is wrong. Not for two threads at once.
  Result<void> scan();

  // When a next scan has something to do although nothing changes (a file settles, a removal waits its time); nothing: rescan.
  [[nodiscard]] std::optional<std::chrono::milliseconds> look_again() const { return look_again_; }

  // Scans when inotify says so, when look_again() says so and every rescan period, until stopped. Store failures are logged once.
  void run(const std::stop_token& stop);

  // From any thread: makes run() scan soon (a confirmation arrived).
  void poke();

 private:
  struct Pass;

  void look(Pass& pass);
  Result<void> load(Pass& pass);
  Result<void> load_source(Pass& pass);
  void plan(Pass& pass);
  void plan_file(Pass& pass, const std::string& name, const KnownFile& file);
  std::optional<std::string> rival(const Pass& pass, const std::string& file, const api::ObjectKey& key) const;
  Result<void> write(Pass& pass);
  void note_written(Pass& pass, const PlannedWrite& write, const store::WriteResult<api::Object>& written);
  Result<void> prune(Pass& pass);
  void remember_last_read();
  std::set<std::string> holding() const;
  bool was_read_without_error(const Pass& pass) const;
  std::string lacking(const Pass& pass) const;
  void keep_what_was_read(const Pass& pass);
  bool must_stay(const Pass& pass, const std::string& file) const;
  bool settled(const Pass& pass, const std::set<api::ObjectKey>& fresh);
  Result<void> remove(Pass& pass, const std::set<api::ObjectKey>& keys);
  Result<void> remove_abreast(Pass& pass, const std::vector<api::ObjectKey>& keys);
  Result<void> publish(Pass& pass);
  bool may_accept_identity(const Pass& pass) const;
  void announce(const Pass& pass, const api::ManifestSourceStatus& next);
  void look_again_in(std::chrono::milliseconds delay);
  void follow_confirmations(const std::stop_token& stop);
  void wait_for_change(const std::stop_token& stop, std::chrono::milliseconds longest, std::chrono::milliseconds pause);

  const Options options_;
  store::Objects& objects_;
  api::EventSink& events_;
  Clock& clock_;
  FileTable table_;
  WriterHints hints_;
  std::optional<ChangeWatch> watch_;
  UniqueFd poke_;                                       // eventfd
  std::map<api::ObjectKey, SteadyTime> missing_since_;  // undeclared, not waiting for a person
  std::optional<std::chrono::milliseconds> look_again_;
  std::optional<ReadRecord> last_read_;  // of this very path
  std::string record_trouble_;           // what was logged of it
};

}  // namespace banger::intake
