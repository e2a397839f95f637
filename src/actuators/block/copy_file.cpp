// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/copy_file.hpp"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

#include "base/files.hpp"

namespace banger::actuators::block {
namespace {

constexpr std::uint64_t kChunk = std::uint64_t{8} << 20U;  // between two looks at the stop token

// copy_file_range(2) refuses some pairs of files (different file systems before Linux 5.19, pseudo files): then by read and
// write.
bool cannot_copy_in_kernel(int error) { return error == EXDEV || error == EINVAL || error == EOPNOTSUPP || error == ENOSYS; }

Result<std::uint64_t> copy_by_hand(int from, int to, std::uint64_t offset, std::uint64_t length) {
  std::array<char, 65536> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by pread
  const auto want = std::min<std::uint64_t>(buffer.size(), length);
  const ssize_t got = ::pread(from, buffer.data(), want, static_cast<off_t>(offset));
  if (got < 0) return fail(errno_error("reading", errno));
  for (ssize_t done = 0; done < got;) {
    const ssize_t put =
        ::pwrite(to, buffer.data() + done, static_cast<std::size_t>(got - done), static_cast<off_t>(offset) + done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail(errno_error("writing", errno));
    done += put;
  }
  return static_cast<std::uint64_t>(got);
}

Result<void> copy_range(int from, int to, std::uint64_t begin, std::uint64_t end, const std::stop_token& stop) {
  bool in_kernel = true;
  while (begin < end) {
    if (stop.stop_requested()) return fail(stopped());
    std::uint64_t copied = 0;
    if (in_kernel) {
      auto in = static_cast<off64_t>(begin);
      auto out = in;
      const ssize_t got = ::copy_file_range(from, &in, to, &out, std::min(kChunk, end - begin), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && cannot_copy_in_kernel(errno)) {
        in_kernel = false;
        continue;
      }
      if (got < 0) return fail(errno_error("copying", errno));
      copied = static_cast<std::uint64_t>(got);
    } else {
      BGR_TRY(copied, copy_by_hand(from, to, begin, end - begin));
    }
    if (copied == 0) return fail(invalid("copying: the file became shorter while it was read"));
    begin += copied;
  }
  return {};
}

}  // namespace

Error stopped() { return {ErrorCode::Unavailable, "stopped before it was done", 0}; }

Result<std::uint64_t> length_of(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail(errno_error("looking at a file", errno));
  if (!S_ISREG(info.st_mode)) return fail(invalid("not a regular file"));
  return static_cast<std::uint64_t>(info.st_size);
}

Result<bool> share_extents(int from, int to) {
  if (::ioctl(to, FICLONE, from) == 0) return true;
  if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == ETXTBSY)
    return false;
  return fail(errno_error("sharing extents", errno));
}

Result<void> copy_data(int from, int to, std::uint64_t length, const std::stop_token& stop) {
  if (::ftruncate(to, static_cast<off_t>(length)) != 0) return fail(errno_error("extending", errno));
  std::uint64_t at = 0;
  while (at < length) {
    const off_t data = ::lseek(from, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};  // only a hole is left
    const bool no_seek = data < 0 && errno == EINVAL;
    if (data < 0 && !no_seek) return fail(errno_error("looking for data", errno));
    const auto begin = no_seek ? at : static_cast<std::uint64_t>(data);
    const off_t hole = no_seek ? static_cast<off_t>(length) : ::lseek(from, static_cast<off_t>(begin), SEEK_HOLE);
    if (hole < 0) return fail(errno_error("looking for a hole", errno));
    const auto end = std::min(static_cast<std::uint64_t>(hole), length);
    if (begin < end) BGR_CHECK(copy_range(from, to, begin, end, stop));
    at = std::max(end, begin);
  }
  return {};
}

}  // namespace banger::actuators::block
