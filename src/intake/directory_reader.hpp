// SPDX-License-Identifier: Apache-2.0
// Reads a directory of manifests without ever leaving it: what is there, what may be read, what is refused and why.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::intake {

inline constexpr std::size_t kMaxFileSize = 128U << 10U;
inline constexpr std::size_t kMaxDepth = 8;       // sub-directories below sub-directories
inline constexpr std::size_t kMaxFiles = 20'000;  // of one manifest directory

// What tells one directory from another that took its path.
struct Identity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const Identity&) const = default;
};
std::string to_string(const Identity& identity);  // "<device>:<inode>"

// What tells one state of a file from the next. change_time cannot be set by anyone.
struct Fingerprint {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modify_time_ns = 0;
  std::int64_t change_time_ns = 0;
  bool operator==(const Fingerprint&) const = default;
};

struct Entry {
  std::string file;  // relative to the directory, printable UTF-8
  Fingerprint print;
  std::string problem;  // not empty: it is not read, and this is why
};

struct Contents {
  Identity identity;
  std::vector<Entry> entries;           // ordered by file
  std::vector<std::string> unreadable;  // sub-directories whose files are unknown now; "" for none of them
};

// True for *.yaml, *.yml and *.json that are not an editor's or a copier's temporary file (.*, *~, *.swp, #*#, 4913, *.tmp).
bool is_manifest_name(std::string_view name);
bool is_ignored_name(std::string_view name);

// One open directory. Symbolic links are never followed below it, no other file system is entered, nothing can block.
class DirectoryReader {
 public:
  // Errors: NotFound, Denied, … as open(2).
  static Result<DirectoryReader> open(const std::string& directory);

  // Called with every directory before its entries are read, so that a watch set then misses nothing.
  using OnDirectory = std::function<void(int fd, const std::string& relative)>;

  // Errors: NotFound when the directory was removed or replaced while it was read; Invalid with more than kMaxFiles entries;
  // otherwise those of its own entries' read. Trouble below it stands in the entries.
  Result<Contents> list(const OnDirectory& on_directory);

  // The file's bytes. Errors: Busy when it is not (any more) what the entry says; Invalid, Denied with a sentence for people.
  Result<std::string> read(const Entry& entry);

 private:
  DirectoryReader(UniqueFd root, std::string directory) : root_(std::move(root)), directory_(std::move(directory)) {}

  Result<UniqueFd> open_below(const std::string& relative, int flags);
  void list_below(const std::string& relative, std::size_t depth, const OnDirectory& on_directory, Contents& contents);
  Result<void> list_open(UniqueFd fd, const std::string& relative, std::size_t depth, const OnDirectory& on_directory,
                         Contents& contents);
  void look_at(int directory_fd, const std::string& name, const std::string& relative, std::size_t depth,
               const OnDirectory& on_directory, Contents& contents);

  UniqueFd root_;
  std::string directory_;
};

}  // namespace banger::intake
