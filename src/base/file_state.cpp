// SPDX-License-Identifier: Apache-2.0
#include "base/file_state.hpp"

#include <sys/stat.h>

#include <ctime>

namespace banger {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kRest = 3 * kSecond;  // FAT counts in two seconds, ext4 with small inodes in one

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

}  // namespace

bool FileState::is_directory() const { return exists && S_ISDIR(mode); }

bool FileState::rested(std::int64_t now) const { return !exists || (changed < now - kRest && modified < now - kRest); }

FileState file_state(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return {};
  return {.exists = true,
          .mode = info.st_mode,
          .owner = info.st_uid,
          .group = info.st_gid,
          .device = info.st_dev,
          .inode = info.st_ino,
          .size = static_cast<std::uint64_t>(info.st_size),
          .blocks = static_cast<std::uint64_t>(info.st_blocks),
          .modified = nanoseconds(info.st_mtim),
          .changed = nanoseconds(info.st_ctim)};
}

std::int64_t file_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return nanoseconds(now);
}

}  // namespace banger
