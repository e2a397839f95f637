// SPDX-License-Identifier: Apache-2.0
#include "shim/stream.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace banger::shim {

void Tail::add(const char* bytes, std::size_t count) {
  for (std::size_t i = count > kSize ? count - kSize : 0; i < count; ++i) {
    ring_[static_cast<std::size_t>((total_ + i) % kSize)] = bytes[i];
  }
  total_ += count;
}

bool RotatingLog::open(const char* path, std::uint64_t max_bytes) {
  if (std::strlen(path) + 3 > path_.size()) {
    errno = ENAMETOOLONG;
    return false;
  }
  std::snprintf(path_.data(), path_.size(), "%s", path);
  std::snprintf(old_path_.data(), old_path_.size(), "%s.1", path);
  max_ = max_bytes;
  return open_file(0);
}

bool RotatingLog::open_file(int flags) {
  fd_ = ::open(path_.data(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (fd_ < 0) return false;
  struct stat info{};
  size_ = ::fstat(fd_, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  return true;
}

void RotatingLog::rotate() {
  if (fd_ >= 0) ::close(fd_);
  // Should the rename fail, O_TRUNC still keeps the size within its bound.
  (void)::rename(path_.data(), old_path_.data());
  (void)open_file(O_TRUNC);
}

void RotatingLog::write(const char* bytes, std::size_t count) {
  while (count > 0) {
    if (size_ >= max_) rotate();
    if (fd_ < 0) return;
    const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(max_ - size_, count));
    const ssize_t put = ::write(fd_, bytes, room);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;
    size_ += static_cast<std::uint64_t>(put);
    bytes += put;
    count -= static_cast<std::size_t>(put);
  }
}

void copy(Stream& stream, std::size_t limit) {
  static std::array<char, 65536> buffer;
  while (stream.fd >= 0 && limit > 0) {
    const ssize_t got = ::read(stream.fd, buffer.data(), std::min(limit, buffer.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      ::close(stream.fd);
      stream.fd = -1;
      return;
    }
    const auto count = static_cast<std::size_t>(got);
    if (stream.log != nullptr) stream.log->write(buffer.data(), count);
    stream.tail.add(buffer.data(), count);
    limit -= count;
  }
}

}  // namespace banger::shim
