// SPDX-License-Identifier: Apache-2.0
#include "base/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace banger {

namespace {

Result<std::string> read_open_file(int fd, const std::filesystem::path& path, Bytes limit) {
  std::string out;
  std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(fmt::format("reading {}", path.native()), errno));
    if (got == 0) return out;
    if (out.size() + static_cast<std::size_t>(got) > limit.value) {
      return fail(invalid(fmt::format("{} is longer than {} bytes", path.native(), limit.value)));
    }
    out.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

// Whose it is, and who else may write it.
Result<void> check_owner(const struct stat& info, const std::filesystem::path& path) {
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return fail({ErrorCode::Denied, fmt::format("{} belongs to user {}: it is not ours", path.native(), info.st_uid)});
  }
  if ((info.st_mode & 022U) != 0) {
    return fail({ErrorCode::Denied, fmt::format("{} may be written by others (mode {:04o}): what it says cannot be trusted",
                                                path.native(), info.st_mode & 07777U)});
  }
  return {};
}

Result<UniqueFd> open_own_directory(const std::filesystem::path& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    struct stat info{};
    if (::lstat(directory.c_str(), &info) == 0 && !S_ISDIR(info.st_mode))
      return fail({ErrorCode::Denied, fmt::format("{} is not a directory", directory.native())});
    return fail(errno_error(fmt::format("opening {}", directory.native()), errno));
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail(errno_error(fmt::format("looking at {}", directory.native()), errno));
  BGR_CHECK(check_owner(info, directory));
  return fd;
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& path, Bytes limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", path.native()), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail(errno_error(fmt::format("reading {}", path.native()), errno));
  if (!S_ISREG(info.st_mode)) return fail(invalid(fmt::format("{} is not a regular file", path.native())));
  return read_open_file(fd.get(), path, limit);
}

Result<void> check_own_directory(const std::filesystem::path& directory) {
  BGR_CHECK(open_own_directory(directory));
  return {};
}

Result<std::string> read_own_file(const std::filesystem::path& path, Bytes limit) {
  BGR_TRY(const auto directory, open_own_directory(path.parent_path()));
  const auto name = path.filename();
  const UniqueFd fd(::openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid() && errno == ELOOP)
    return fail({ErrorCode::Denied, fmt::format("{} is a symbolic link: expected a regular file", path.native())});
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", path.native()), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail(errno_error(fmt::format("reading {}", path.native()), errno));
  if (!S_ISREG(info.st_mode)) return fail({ErrorCode::Denied, fmt::format("{} is not a regular file", path.native())});
  BGR_CHECK(check_owner(info, path));
  return read_open_file(fd.get(), path, limit);
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(errno_error("writing", errno));
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> fsync_directory(const std::filesystem::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return fail(errno_error(fmt::format("syncing directory {}", directory.native()), errno));
  }
  return {};
}

Result<void> write_file_durably(const std::filesystem::path& path, std::string_view content, unsigned mode) {
  static std::atomic<std::uint64_t> counter{0};
  const auto temporary =
      path.parent_path() / fmt::format(".{}.{}.{}.tmp", path.filename().native(), ::getpid(), counter.fetch_add(1));
  const auto doing = fmt::format("writing {}", path.native());
  const auto give_up = [&](Error error) {
    ::unlink(temporary.c_str());
    return fail(with_context(std::move(error), doing));
  };
  {
    const UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd.valid()) return fail(errno_error(doing, errno));
    if (auto done = write_all(fd.get(), content); !done) return give_up(done.error());
    if (::fsync(fd.get()) != 0) return give_up(errno_error("fsync", errno));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up(errno_error("rename", errno));
  return fsync_directory(path.parent_path());
}

Result<void> make_directories(const std::filesystem::path& path, unsigned mode) {
  std::filesystem::path so_far;
  for (const auto& part : path) {
    so_far /= part;
    if (part == "/" || part.empty()) continue;
    if (::mkdir(so_far.c_str(), mode) != 0 && errno != EEXIST) {
      return fail(errno_error(fmt::format("making directory {}", so_far.native()), errno));
    }
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return fail(errno_error(fmt::format("looking at {}", path.native()), errno));
  if (!S_ISDIR(info.st_mode)) return fail(invalid(fmt::format("{} is not a directory", path.native())));
  return {};
}

Result<void> remove_tree(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail(errno_error(fmt::format("removing {}", path.native()), error.value()));
  return {};
}

}  // namespace banger
