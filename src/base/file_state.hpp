// SPDX-License-Identifier: Apache-2.0
// What tells that a file or directory is as it was: no byte, name or right in it changes without one of these.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace banger {

struct FileState {
  bool exists = false;
  std::uint32_t mode = 0;
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::uint64_t blocks = 0;   // of 512 bytes
  std::int64_t modified = 0;  // ns since 1970
  std::int64_t changed = 0;   // likewise; nobody can set it back
  bool operator==(const FileState&) const = default;

  [[nodiscard]] bool is_directory() const;
  // Times have steps: of a file that changed shortly before now, a further change may bear the same. Only what has rested for
  // some seconds is known by its state alone. A clock that was set back makes files look young, never old.
  [[nodiscard]] bool rested(std::int64_t now) const;
};

// By lstat(2): a symbolic link is itself. What cannot be looked at does not exist.
FileState file_state(const std::string& path);

// For many looks below one directory, whose own path is walked once instead of each time. To be made anew for each round of
// looks: what bears the directory's name may be another one by then.
class FilesBelow {
 public:
  explicit FilesBelow(std::string directory);
  [[nodiscard]] FileState state(const std::string& relative) const;  // file_state() of directory/relative

 private:
  std::string directory_;
  UniqueFd fd_;  // none: looked at by whole paths
};

// Each name in a directory, without those that begin with a dot. One that cannot be read has none.
void for_each_name(const std::string& directory, const std::function<void(std::string_view)>& see);

std::int64_t file_clock();  // now, by the clock that files are stamped with

}  // namespace banger
