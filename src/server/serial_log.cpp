// SPDX-License-Identifier: Apache-2.0
#include "server/serial_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

namespace banger::server {
namespace {

constexpr std::size_t kReadBytes = 64U << 10U;
constexpr std::chrono::milliseconds kFollowInterval{100};

// A log that belongs to the VMM's user may have been replaced by anything: no links are followed, nothing but a regular file is
// read, and a FIFO does not block.
Result<UniqueFd> open_log(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", path), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail(errno_error(fmt::format("looking at {}", path), errno));
  if (!S_ISREG(info.st_mode)) return fail(internal(fmt::format("{} is not a regular file", path)));
  return fd;
}

std::uint64_t size_of(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

bool same_file(int fd, const std::string& path) {
  struct stat ours{};
  struct stat there{};
  return ::fstat(fd, &ours) == 0 && ::lstat(path.c_str(), &there) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino;
}

struct Tail {
  std::uint64_t lines = 0;   // counted, at most as many as asked for
  std::uint64_t offset = 0;  // where they start
};

// The last `wanted` lines of the file, read backwards in blocks. A last line without its newline counts as one.
Tail find_tail(int fd, std::uint64_t wanted) {
  const auto size = size_of(fd);
  std::uint64_t end = size;
  std::uint64_t newlines = 0;
  std::array<char, kReadBytes> block{};
  while (end > 0) {
    const auto length = std::min<std::uint64_t>(end, block.size());
    const auto got = ::pread(fd, block.data(), length, static_cast<off_t>(end - length));
    if (got <= 0) break;
    for (auto i = got; i > 0; --i) {
      const bool newline = block[static_cast<std::size_t>(i - 1)] == '\n';
      const auto position = end - length + static_cast<std::uint64_t>(i);  // just after this byte
      if (!newline || position == size) continue;                          // the newline at the very end closes the last line

      if (++newlines == wanted) return {wanted, position};
    }
    end -= length;
  }
  return {size == 0 ? 0 : newlines + 1, 0};
}

}  // namespace

Result<void> LogStream::open_older() {
  auto older = open_log(query_.path + ".1");
  if (older) {
    fd_ = *std::move(older);
    older_ = true;
    return {};
  }
  if (older.error().code != ErrorCode::NotFound) return fail(older.error());
  if (query_.previous) return fail(banger::not_found("the serial log has not been rotated yet: there is no previous part"));
  return {};
}

bool LogStream::open_current() {
  auto current = open_log(query_.path);
  if (!current) return false;
  current_ = *std::move(current);
  return true;
}

Result<std::unique_ptr<LogStream>> LogStream::open(const LogQuery& query, Clock& clock) {
  std::unique_ptr<LogStream> stream(new LogStream(query, clock));
  // The current file first: if it is rotated between the two opens, it is the same file twice, and read once.
  if (!query.previous && !stream->open_current()) {
    auto again = open_log(query.path);
    if (!again && again.error().code != ErrorCode::NotFound) return fail(again.error());
  }
  BGR_CHECK(stream->open_older());
  if (stream->older_ && stream->current_.valid() && same_file(stream->current_.get(), query.path + ".1"))
    stream->current_.reset();
  if (!stream->older_) stream->fd_ = std::move(stream->current_);
  BGR_CHECK(stream->skip_to_tail());
  return stream;
}

Result<void> LogStream::skip_to_tail() {
  if (!query_.tail_lines) return {};
  if (*query_.tail_lines == 0) {
    if (current_.valid()) {
      fd_ = std::move(current_);
      older_ = false;
    }
    if (fd_.valid()) offset_ = size_of(fd_.get());
    return {};
  }
  if (!current_.valid()) {
    if (fd_.valid()) offset_ = find_tail(fd_.get(), *query_.tail_lines).offset;
    return {};
  }
  const auto tail = find_tail(current_.get(), *query_.tail_lines);
  if (tail.lines < *query_.tail_lines) {
    offset_ = find_tail(fd_.get(), *query_.tail_lines - tail.lines).offset;
    return {};
  }
  fd_ = std::move(current_);
  older_ = false;
  offset_ = tail.offset;
  return {};
}

std::string LogStream::read_some() {
  std::string bytes(kReadBytes, '\0');
  const auto got = ::pread(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset_));
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  offset_ += bytes.size();
  return bytes;
}

bool LogStream::switch_file() {
  if (query_.previous) return false;
  if (older_) {
    older_ = false;
    offset_ = 0;
    if (current_.valid()) {
      fd_ = std::move(current_);
      return true;
    }
  } else if (fd_.valid() && same_file(fd_.get(), query_.path)) {
    if (size_of(fd_.get()) >= offset_) return false;
    offset_ = 0;  // truncated in place
    return true;
  } else if (!query_.follow) {
    return false;
  }
  auto next = open_log(query_.path);
  if (!next) return false;
  // Whatever was written to the old file after our last read and before it was moved away comes first.
  if (fd_.valid() && size_of(fd_.get()) > offset_) return true;
  fd_ = *std::move(next);
  offset_ = 0;
  return true;
}

Stream::Chunk LogStream::next() {
  Chunk chunk;
  if (fd_.valid()) chunk.bytes = read_some();
  if (!chunk.bytes.empty()) {
    chunk.more = true;
    return chunk;
  }
  if (switch_file()) {
    chunk.more = true;
    return chunk;
  }
  chunk.end = !query_.follow;
  look_again_ = clock_.steady() + kFollowInterval;
  return chunk;
}

}  // namespace banger::server
