// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/new_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/files.hpp"

namespace banger::actuators::block {

Result<NewFile> NewFile::create(const std::filesystem::path& path) {
  auto temporary = path.parent_path() / fmt::format(".{}.tmp", path.filename().native());
  const auto doing = fmt::format("making {}", path.native());
  if (::unlink(temporary.c_str()) != 0 && errno != ENOENT) return fail(errno_error(doing, errno));
  UniqueFd fd(::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return fail(errno_error(doing, errno));
  return NewFile(std::move(fd), std::move(temporary));
}

NewFile::~NewFile() {
  if (fd_.valid()) ::unlink(temporary_.c_str());
}

Result<void> NewFile::commit(const std::filesystem::path& path, unsigned mode) {
  if (::fchmod(fd_.get(), mode) != 0 || ::fsync(fd_.get()) != 0)
    return fail(errno_error(fmt::format("keeping {}", path.native()), errno));
  BGR_CHECK(commit_unsynced(path, mode));
  return fsync_directory(path.parent_path());
}

Result<void> NewFile::commit_unsynced(const std::filesystem::path& path, unsigned mode) {
  if (::fchmod(fd_.get(), mode) != 0 || ::rename(temporary_.c_str(), path.c_str()) != 0) {
    return fail(errno_error(fmt::format("keeping {}", path.native()), errno));
  }
  fd_.reset();
  return {};
}

}  // namespace banger::actuators::block
