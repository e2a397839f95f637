// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/root_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "actuators/block/ext4.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/block/new_file.hpp"
#include "actuators/block/snapshot.hpp"
#include "actuators/cow_size.hpp"
#include "api/codec.hpp"
#include "base/failpoint.hpp"
#include "base/files.hpp"
#include "base/rollback.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::block {
namespace {

constexpr const char* kSizeAttribute = "user.banger.size";  // of the disk, in bytes
constexpr const char* kBaseAttribute = "user.banger.base";  // name of the base file, which holds its digest
constexpr std::uint64_t kBlock = 4096;

Bytes in_blocks(Bytes size) { return {(size.value + kBlock - 1) / kBlock * kBlock}; }

std::optional<std::string> note_of(const std::filesystem::path& path, const char* name) {
  std::array<char, 256> value{};
  const ssize_t got = ::getxattr(path.c_str(), name, value.data(), value.size());
  if (got <= 0) return std::nullopt;
  return std::string(value.data(), static_cast<std::size_t>(got));
}

// Beginning from what is there, every byte to size is set aside. The kernel reads them as zeros: a new snapshot.
Result<void> preallocate(int fd, Bytes size) {
  if (auto stop = failpoint("root-disk.preallocate")) return fail(*std::move(stop));
  int failed = 0;
  do {
    failed = ::fallocate(fd, 0, 0, static_cast<off_t>(size.value)) == 0 ? 0 : errno;
  } while (failed == EINTR);
  if (failed == EOPNOTSUPP) return fail(invalid("the state directory's file system cannot preallocate files"));
  if (failed != 0) return fail(errno_error(fmt::format("setting {} bytes aside", size.value), failed));
  return {};
}

Result<void> keep_reserve(int fd, Bytes more) {
  struct statvfs found{};
  if (::fstatvfs(fd, &found) != 0) return fail(errno_error("asking the file system for its free space", errno));
  const Bytes free{static_cast<std::uint64_t>(found.f_bfree) * found.f_frsize};
  const auto reserve = growth_reserve({static_cast<std::uint64_t>(found.f_blocks) * found.f_frsize});
  if (free.value >= more.value + reserve.value) return {};
  return fail(
      {ErrorCode::Unavailable,
       fmt::format("{} more would leave less than {} free in its file system, which is kept for the database and for what "
                   "other guests write",
                   api::format_quantity(more), api::format_quantity(reserve)),
       ENOSPC});
}

// Where the kernel puts its header and its first table of exceptions: written here, where a sync is due anyhow, they need no
// change of the file system's own tables (and its journal) when the snapshot is made.
Result<void> clear_head(int fd) {
  const std::vector<char> zeros(2 * kChunkSize.value);
  if (::pwrite(fd, zeros.data(), zeros.size(), 0) != static_cast<ssize_t>(zeros.size()))
    return fail(errno_error("clearing the header", errno));
  return {};
}

Result<void> link_base(const std::filesystem::path& base, const std::filesystem::path& link) {
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return fail(errno_error(fmt::format("removing {}", link.native()), errno));
  if (::link(base.c_str(), link.c_str()) == 0) return {};
  if (errno == EXDEV || errno == EMLINK || errno == EPERM)
    return fail(invalid(fmt::format("{} cannot be linked into the VM's directory ({})", base.native(), strerrordesc_np(errno))));
  return fail(errno_error(fmt::format("linking {}", base.native()), errno));
}

Result<Bytes> ext4_size(const std::filesystem::path& path) {
  BGR_TRY(const auto facts, read_ext4_facts(path));
  if (!facts) return fail(invalid(fmt::format("{} is not an ext4 file system", path.native())));
  return in_blocks(facts->size);
}

// The size of the disk that this job asks for.
Result<Bytes> disk_size(const MakeRootDisk& job, Bytes least) {
  if (job.size.value != 0 && job.size < least) {
    return fail(invalid(fmt::format("rootDisk.size is {} bytes, but the image needs at least {}", job.size.value, least.value)));
  }
  return std::max(in_blocks(job.size), least);
}

}  // namespace

Result<void> make_root_files(const MakeRootDisk& job, const Layout& layout) {
  const auto link = root_base_path(layout, job.vm_uid);
  const auto path = root_cow_path(layout, job.vm_uid);
  BGR_TRY(const auto least, ext4_size(job.base_path));
  BGR_TRY(const auto size, disk_size(job, least));
  BGR_CHECK(link_base(job.base_path, link));
  Rollback undo;
  undo.add([&] { ::unlink(link.c_str()); });
  BGR_CHECK(extend_base(link, size));
  BGR_TRY(auto cow, NewFile::create(path));
  const auto wanted = job.cow_size.value != 0 ? std::min(job.cow_size, full_cow_size(size)) : default_cow_size(size);
  BGR_CHECK(preallocate(cow.fd(), in_chunks(wanted)));
  BGR_CHECK(clear_head(cow.fd()));
  const auto base_name = std::filesystem::path(job.base_path).filename().native();
  (void)::fsetxattr(cow.fd(), kBaseAttribute, base_name.data(), base_name.size(), 0);
  note_disk_size(cow.temporary_path(), size);
  BGR_CHECK(cow.commit(path, 0600));
  undo.dismiss();
  return {};
}

Result<void> keep_root_files(const MakeRootDisk& job, const Layout& layout) {
  const auto link = root_base_path(layout, job.vm_uid);
  const auto path = root_cow_path(layout, job.vm_uid);
  if (::access(link.c_str(), F_OK) != 0 && errno == ENOENT) {
    const auto came_from = note_of(path, kBaseAttribute);
    if (came_from != std::filesystem::path(job.base_path).filename().native()) {
      return fail(invalid(
          fmt::format("{} is lost, and what the guest wrote cannot be read without it: it was {}, but the image is now {}",
                      link.native(), came_from.value_or("of another image"), job.base_path)));
    }
    BGR_CHECK(link_base(job.base_path, link));
    BGR_CHECK(fsync_directory(link.parent_path()));
  }
  BGR_TRY(const auto least, least_disk_size(link, path));
  const auto size = std::max(in_blocks(job.size), least);
  BGR_CHECK(extend_base(link, size));
  note_disk_size(path, size);
  return {};
}

Result<void> extend_base(const std::filesystem::path& base, Bytes disk) {
  const auto doing = fmt::format("extending {}", base.native());
  struct stat info{};
  if (::lstat(base.c_str(), &info) != 0) return fail(errno_error(doing, errno));
  if (static_cast<std::uint64_t>(info.st_size) >= disk.value) return {};
  const UniqueFd fd(::open(base.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  // Between looking and extending nobody may extend it further: this would cut it off again.
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (!fd.valid() || ::fcntl(fd.get(), F_OFD_SETLKW, &lock) != 0 || ::fstat(fd.get(), &info) != 0)
    return fail(errno_error(doing, errno));
  if (static_cast<std::uint64_t>(info.st_size) >= disk.value) return {};
  if (::ftruncate(fd.get(), static_cast<off_t>(disk.value)) != 0 || ::fsync(fd.get()) != 0)
    return fail(errno_error(doing, errno));
  return {};
}

Result<Bytes> least_disk_size(const std::filesystem::path& base, const std::filesystem::path& cow) {
  BGR_TRY(auto least, ext4_size(base));
  std::uint64_t noted = 0;
  if (const auto text = note_of(cow, kSizeAttribute)) std::from_chars(text->data(), text->data() + text->size(), noted);
  return std::max(least, in_blocks({noted}));
}

void note_disk_size(const std::filesystem::path& cow, Bytes size) {
  const auto text = fmt::format("{}", size.value);
  if (note_of(cow, kSizeAttribute) == text) return;
  (void)::setxattr(cow.c_str(), kSizeAttribute, text.data(), text.size(), 0);
}

Result<bool> grow_cow_file(const std::filesystem::path& cow, Bytes size) {
  const auto wanted = in_chunks(size);
  BGR_TRY(const auto present, length_of_file(cow));
  if (present >= wanted) return false;
  const UniqueFd fd(::open(cow.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", cow.native()), errno));
  BGR_CHECK(keep_reserve(fd.get(), {wanted.value - present.value}));
  if (auto grown = preallocate(fd.get(), wanted); !grown) {
    // Some file systems keep what they found before the disk was full.
    if (::ftruncate(fd.get(), static_cast<off_t>(present.value)) != 0) return fail(errno_error("giving space back", errno));
    return fail(std::move(grown).error());
  }
  if (::fsync(fd.get()) != 0) return fail(errno_error(fmt::format("syncing {}", cow.native()), errno));
  return true;
}

Result<Bytes> length_of_file(const std::filesystem::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return fail(errno_error(fmt::format("looking at {}", path.native()), errno));
  return Bytes{static_cast<std::uint64_t>(info.st_size)};
}

}  // namespace banger::actuators::block
