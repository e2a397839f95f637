// SPDX-License-Identifier: Apache-2.0
#include "guest_init/root.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>

namespace banger::guest_init {
namespace {

std::string read_all(int fd) {
  std::string out;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; fd >= 0 && (got = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    out.append(buffer.data(), static_cast<std::size_t>(got));
  }
  if (fd >= 0) ::close(fd);
  return out;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

int open_in(int directory, const char* path, int flags, unsigned long long resolve) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = resolve;
  return static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof(how)));
}

}  // namespace

std::string read_file(const char* path) { return read_all(::open(path, O_RDONLY | O_CLOEXEC)); }

Root::Root(const char* where) : fd_(::open(where, O_PATH | O_DIRECTORY | O_CLOEXEC)) {}

int Root::open(const std::string& path, int flags) const { return open_in(fd_, path.c_str(), flags, RESOLVE_IN_ROOT); }

int Root::make_directory(const std::string& path) const {
  int here = open("/", O_PATH | O_DIRECTORY);
  for (std::size_t begin = 0; here >= 0 && begin < path.size();) {
    auto end = path.find('/', begin);
    if (end == std::string::npos) end = path.size();
    const auto name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") continue;
    const auto so_far = path.substr(0, end);
    int next = open(so_far, O_PATH | O_DIRECTORY);
    if (next < 0 && errno == ENOENT && ::mkdirat(here, name.c_str(), 0755) == 0) next = open(so_far, O_PATH | O_DIRECTORY);
    const int error = errno;
    ::close(here);
    errno = error;
    here = next;
  }
  return here;
}

std::string Root::read(const std::string& path) const { return read_all(open(path, O_RDONLY | O_NONBLOCK)); }

bool Root::is_as_wanted(int directory, const std::string& name, std::string_view content, unsigned mode, Owner owner) const {
  const int fd = open_in(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK, RESOLVE_BENEATH);
  struct stat info{};
  if (fd < 0) return false;
  const bool same = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 07777) == mode &&
                    info.st_uid == owner.uid && info.st_gid == owner.gid &&
                    static_cast<std::size_t>(info.st_size) == content.size();
  return read_all(fd) == content && same;
}

Problem Root::write(const std::string& path, std::string_view content, unsigned mode, Owner owner) const {
  const auto slash = path.rfind('/');
  const auto name = path.substr(slash + 1);
  const auto temporary = ".banger-init." + name.substr(0, 200);
  const int directory = make_directory(path.substr(0, slash));
  if (directory < 0) return problem("making the directory of " + path);
  Problem out;
  if (!is_as_wanted(directory, name, content, mode, owner)) {
    ::unlinkat(directory, temporary.c_str(), 0);
    const int fd = ::openat(directory, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    const bool written = fd >= 0 && write_all(fd, content) && ::fchown(fd, owner.uid, owner.gid) == 0 &&
                         ::fchmod(fd, mode) == 0 && ::renameat(directory, temporary.c_str(), directory, name.c_str()) == 0;
    if (!written) {
      out = problem("writing " + path);
      ::unlinkat(directory, temporary.c_str(), 0);
    }
    if (fd >= 0) ::close(fd);
  }
  ::close(directory);
  return out;
}

Problem Root::own_directory(const std::string& path, unsigned mode, Owner owner) const {
  const int made = make_directory(path);
  if (made >= 0) ::close(made);
  const int fd = open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return problem("making " + path);
  Problem out;
  if (::fchown(fd, owner.uid, owner.gid) != 0 || ::fchmod(fd, mode) != 0) out = problem("giving " + path + " to its owner");
  ::close(fd);
  return out;
}

bool Root::is_executable(const std::string& path) const {
  const int fd = open(path, O_PATH);
  struct stat info{};
  const bool is = fd >= 0 && ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
  if (fd >= 0) ::close(fd);
  return is;
}

}  // namespace banger::guest_init
