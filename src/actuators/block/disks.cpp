// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/disks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <system_error>

#include "actuators/block/copy_file.hpp"
#include "actuators/block/device_mapper.hpp"
#include "actuators/block/ext4.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/new_file.hpp"
#include "actuators/block/root_disk.hpp"
#include "actuators/block/root_files.hpp"
#include "base/text.hpp"

namespace banger::actuators::block {
namespace {

constexpr const char* kBackendAttribute = "user.banger.backend";
constexpr std::string_view kDataPrefix = "disk-";
constexpr std::string_view kSuffix = ".img";
// A raw disk is a whole number of sectors.
constexpr std::uint64_t kAlignment = 4096;

std::uint64_t aligned(Bytes size) { return (size.value + kAlignment - 1) / kAlignment * kAlignment; }

Result<std::optional<struct stat>> look_at(const std::filesystem::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return std::nullopt;
    return fail(errno_error(fmt::format("looking at {}", path.native()), errno));
  }
  if (!S_ISREG(info.st_mode)) return fail(invalid(fmt::format("{} is not a regular file", path.native())));
  return info;
}

// The backend is noted on the file itself; without the note a copy is the safe guess.
std::string noted_backend(const std::filesystem::path& path) {
  std::array<char, 16> value{};
  const ssize_t got = ::getxattr(path.c_str(), kBackendAttribute, value.data(), value.size());
  return got > 0 && std::string_view(value.data(), static_cast<std::size_t>(got)) == "reflink" ? "reflink" : "copy";
}

std::string backend_of(const std::filesystem::path& root) {
  return root.extension() == ".cow" ? "dm-snapshot" : noted_backend(root);
}

Result<std::string> clone(int base, int disk, std::uint64_t length, const MakeRootDisk& job, const std::stop_token& stop) {
  if (job.backend != api::DiskBackend::Copy) {
    BGR_TRY(const bool shared, share_extents(base, disk));
    if (shared) return "reflink";
    if (job.backend == api::DiskBackend::Reflink) {
      return fail(
          invalid("rootDisk.backend is reflink, but the state directory's file system cannot share extents (btrfs and XFS "
                  "can); use auto or copy"));
    }
  }
  BGR_CHECK(copy_data(base, disk, length, stop));
  return "copy";
}

// By reflink or copy. The base may be longer than its file system: other disks than this one need it so.
Result<std::string> make_root_image(const MakeRootDisk& job, const std::filesystem::path& path, const std::stop_token& stop) {
  BGR_TRY(const auto facts, read_ext4_facts(job.base_path));
  if (!facts) return fail(invalid(fmt::format("{} is not an ext4 file system", job.base_path)));
  const auto length = facts->size.value;
  if (job.size.value != 0 && job.size.value < length) {
    return fail(invalid(fmt::format("rootDisk.size is {} bytes, but the image needs at least {}", job.size.value, length)));
  }
  const UniqueFd base(::open(job.base_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!base.valid()) return fail(errno_error(fmt::format("opening {}", job.base_path), errno));
  BGR_TRY(auto file, NewFile::create(path));
  BGR_TRY(auto backend, clone(base.get(), file.fd(), length, job, stop));
  const auto size = std::max(aligned(job.size), aligned({length}));
  if (::ftruncate(file.fd(), static_cast<off_t>(size)) != 0) return fail(errno_error("setting its length", errno));
  // A note for later observers only; not every file system has extended attributes.
  static_cast<void>(::fsetxattr(file.fd(), kBackendAttribute, backend.data(), backend.size(), 0));
  BGR_CHECK(file.commit(path, 0600));
  return backend;
}

// Why this host cannot keep a root disk as a dm-snapshot; empty when it did.
Result<std::string> try_snapshot(const MakeRootDisk& job, const Layout& layout) {
  if (const auto works = dm::check_snapshot_target(); !works) return works.error().message;
  const auto made = make_root_files(job, layout);
  if (made) return "";
  // A full disk is no reason to take more of it for a copy.
  if (made.error().code != ErrorCode::Invalid) return fail(made.error());
  return made.error().message;
}

Result<std::string> make_root_disk(const MakeRootDisk& job, const Layout& layout, const std::stop_token& stop) {
  const auto path = root_disk_path(layout, job.vm_uid);
  if (job.backend == api::DiskBackend::DmSnapshot) {
    if (const auto works = dm::check_snapshot_target(); !works)
      return fail(with_context(works.error(), "rootDisk.backend is dm-snapshot, but"));
    BGR_CHECK(make_root_files(job, layout));
    return "dm-snapshot";
  }
  if (job.backend != api::DiskBackend::Auto) return make_root_image(job, path, stop);
  BGR_TRY(const auto why, try_snapshot(job, layout));
  if (why.empty()) return "dm-snapshot";
  BGR_TRY(auto backend, make_root_image(job, path, stop));
  if (backend == "reflink") return fmt::format("reflink: no dm-snapshot: {}", why);
  return fmt::format("{}: no dm-snapshot: {}; no reflink: the state directory's file system cannot share extents", backend, why);
}

// The same disk of the same VM always gets the same uuid.
std::array<std::uint8_t, 16> uuid_of(const std::string& vm_uid, const std::string& disk) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  const auto text = fmt::format("banger disk {} {}", vm_uid, disk);
  if (::EVP_Digest(text.data(), text.size(), digest.data(), nullptr, ::EVP_sha256(), nullptr) != 1) std::abort();
  std::array<std::uint8_t, 16> uuid{};
  std::copy_n(digest.begin(), uuid.size(), uuid.begin());
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0FU) | 0x80U);  // RFC 9562, version 8
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3FU) | 0x80U);
  return uuid;
}

Result<std::string> make_data_disk(const MakeDataDisk& job, const std::filesystem::path& path) {
  BGR_TRY(auto file, NewFile::create(path));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  BGR_CHECK(make_empty_ext4(file.temporary_path(), {.size = {aligned(job.size)},
                                                    .label = job.disk.substr(0, 16),
                                                    .uuid = uuid_of(job.vm_uid, job.disk),
                                                    .made = std::chrono::duration_cast<std::chrono::seconds>(now).count()}));
  BGR_CHECK(file.commit(path, 0600));
  return "made";
}

Error gone() { return not_found("it was there and is gone; another is not made in its place"); }

Result<std::string> grow_disk(Bytes size, const std::filesystem::path& path, std::uint64_t present) {
  const auto wanted = aligned(size);
  if (present >= wanted) return "kept";
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(wanted)) != 0 || ::fsync(fd.get()) != 0) {
    return fail(errno_error("growing", errno));
  }
  return "grown";
}

bool is_root(const std::filesystem::path& path) { return path.filename() == "root.img" || path.filename() == "root.cow"; }

std::optional<std::string> disk_name(const std::string& file) {
  if (is_root(file)) return "root";
  if (!file.starts_with(kDataPrefix) || !file.ends_with(kSuffix) || file.size() <= kDataPrefix.size() + kSuffix.size()) {
    return std::nullopt;
  }
  return file.substr(kDataPrefix.size(), file.size() - kDataPrefix.size() - kSuffix.size());
}

Result<std::string> keep_or_make(const MakeRootDisk& job, const Layout& layout, const std::stop_token& stop) {
  const auto path = root_disk_path(layout, job.vm_uid);
  BGR_TRY(const auto cow, look_at(root_cow_path(layout, job.vm_uid)));
  if (cow) {
    BGR_CHECK(keep_root_files(job, layout));
    return "dm-snapshot";
  }
  BGR_TRY(const auto image, look_at(path));
  if (!image && job.present) return fail(gone());
  if (!image) return make_root_disk(job, layout, stop);
  BGR_CHECK(grow_disk(job.size, path, static_cast<std::uint64_t>(image->st_size)));
  return noted_backend(path);
}

}  // namespace

Result<std::string> run(const MakeRootDisk& job, const Layout& layout, const std::stop_token& stop) {
  if (stop.stop_requested()) return fail(stopped());
  auto done = keep_or_make(job, layout, stop);
  if (!done)
    return fail(
        with_context(std::move(done).error(), fmt::format("making the root disk in {}", vm_dir(layout, job.vm_uid).native())));
  return done;
}

Result<std::string> run(const MakeDataDisk& job, const Layout& layout, const std::stop_token& stop) {
  if (stop.stop_requested()) return fail(stopped());
  const auto path = data_disk_path(layout, job.vm_uid, job.disk);
  BGR_TRY(const auto present, look_at(path));
  if (!present && job.present) return fail(with_context(gone(), fmt::format("growing data disk {}", path.native())));
  auto made = present ? grow_disk(job.size, path, static_cast<std::uint64_t>(present->st_size)) : make_data_disk(job, path);
  if (!made) return fail(with_context(std::move(made).error(), fmt::format("making data disk {}", path.native())));
  return made;
}

Result<std::vector<DiskView>> observe_disks(const Layout& layout, const std::string& vm_uid) {
  std::vector<DiskView> disks;
  std::error_code error;
  const auto kind = std::filesystem::symlink_status(vm_dir(layout, vm_uid), error).type();
  // What somebody put in its place holds no disks of ours, and a link is not followed.
  if (kind != std::filesystem::file_type::directory && kind != std::filesystem::file_type::none) return disks;
  std::filesystem::directory_iterator entries(vm_dir(layout, vm_uid), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const auto name = disk_name(entries->path().filename().native());
    struct stat info{};
    if (!name || ::lstat(entries->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    disks.push_back({.name = *name,
                     .path = entries->path().native(),
                     .size = {static_cast<std::uint64_t>(info.st_size)},
                     .allocated = {static_cast<std::uint64_t>(info.st_blocks) * 512},
                     .backend = is_root(entries->path()) ? backend_of(entries->path()) : ""});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(errno_error(fmt::format("reading {}", vm_dir(layout, vm_uid).native()), error.value()));
  }
  // A data disk may be named root too.
  std::ranges::sort(disks, {}, [](const DiskView& d) { return std::pair(d.backend.empty() ? 1 : 0, d.path); });
  return disks;
}

Result<Applied> apply(const SyncDisks& step, const Layout& layout) {
  // First what the node still holds: it goes down into root.cow.
  BGR_TRY(const bool node, sync_root_node(step.vm_uid, layout));
  BGR_TRY(const auto disks, observe_disks(layout, step.vm_uid));
  for (const auto& disk : disks) {
    const UniqueFd fd(::open(disk.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid() || ::fsync(fd.get()) != 0) return fail(errno_error(fmt::format("syncing {}", disk.path), errno));
  }
  return disks.empty() && !node ? Applied::Unchanged : Applied::Changed;
}

}  // namespace banger::actuators::block
