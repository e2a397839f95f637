// SPDX-License-Identifier: Apache-2.0
#include "base/file_state.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <ctime>
#include <memory>
#include <utility>

namespace banger {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kRest = 3 * kSecond;  // FAT counts in two seconds, ext4 with small inodes in one

struct Close {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

FileState state_at(int directory, const std::string& path) {
  struct stat info{};
  if (::fstatat(directory, path.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return {};
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

}  // namespace

bool FileState::is_directory() const { return exists && S_ISDIR(mode); }

bool FileState::rested(std::int64_t now) const { return !exists || (changed < now - kRest && modified < now - kRest); }

FileState file_state(const std::string& path) { return state_at(AT_FDCWD, path); }

FilesBelow::FilesBelow(std::string directory)
    : directory_(std::move(directory)), fd_(::open(directory_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

FileState FilesBelow::state(const std::string& relative) const {
  return fd_.valid() ? state_at(fd_.get(), relative) : file_state(directory_ + "/" + relative);
}

void for_each_name(const std::string& directory, const std::function<void(std::string_view)>& see) {
  const std::unique_ptr<DIR, Close> entries(::opendir(directory.c_str()));
  if (!entries) return;
  while (const auto* entry = ::readdir(entries.get())) {
    const std::string_view name(static_cast<const char*>(entry->d_name));
    if (!name.starts_with('.')) see(name);
  }
}

std::int64_t file_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return nanoseconds(now);
}

}  // namespace banger
