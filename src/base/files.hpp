// SPDX-License-Identifier: Apache-2.0
// Whole-file reads and durable writes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"

namespace banger {

// The file's bytes. Errors: as open(2) and read(2); Invalid when it is longer than limit or not a regular file.
// Also fit for /proc and /sys, whose sizes are not known beforehand.
Result<std::string> read_file(const std::filesystem::path& path, Bytes limit);

// Replaces path by content so that after a crash either the old or the new bytes are there, whole: temporary file in the same
// directory (mode as given), fsync, rename, fsync of the directory.
Result<void> write_file_durably(const std::filesystem::path& path, std::string_view content, unsigned mode);

// The bytes of a file that nobody but us can have written: a regular file in a directory, neither reached through a link, both
// ours (or root's) and not writable by others. Errors: NotFound; Denied, saying what is wrong; Invalid when it is longer than
// limit.
Result<std::string> read_own_file(const std::filesystem::path& path, Bytes limit);
// The same question about a directory.
Result<void> check_own_directory(const std::filesystem::path& directory);

Result<void> write_all(int fd, std::string_view bytes);
Result<void> fsync_directory(const std::filesystem::path& directory);

// mkdir -p with the mode for what is made. Errors name the part that failed.
Result<void> make_directories(const std::filesystem::path& path, unsigned mode);

// Removes the tree below and including path without following symbolic links; absent is success.
Result<void> remove_tree(const std::filesystem::path& path);

}  // namespace banger
