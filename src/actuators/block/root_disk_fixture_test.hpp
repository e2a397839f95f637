// SPDX-License-Identifier: Apache-2.0
// For the tests on a real device-mapper: root disks below a directory of their own, and reads and writes through their nodes.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "actuators/block/disks.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/block/root_disk.hpp"
#include "actuators/block/root_disk_view.hpp"
#include "actuators/block/snapshot.hpp"
#include "actuators/block/testing.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::block {

inline bool have_device_mapper() {
  const auto works = dm::check_snapshot_target();
  if (!works) MESSAGE("skipped: no device-mapper on this machine: ", works.error().message);
  return works.has_value();
}

// Each test process has uids of its own: nodes are the machine's.
inline std::string uid_number(unsigned number) {
  return fmt::format("{:08x}-0000-4000-8000-{:012x}", static_cast<unsigned>(::getpid()), number);
}

// For who does not know which of them have files.
inline Result<std::map<std::string, RootDiskView>> all_root_disks(const Layout& layout, const std::set<std::string>& uids) {
  return observe_root_disks(layout, uids, uids);
}

class Fixture {
 public:
  explicit Fixture(const std::filesystem::path& below = {}) {
    if (!below.empty()) root_ = below;
    layout = {root_ / "state", root_ / "run"};
    base = layout.state_dir / "base-1.ext4";
    std::filesystem::create_directories(layout.state_dir);
    if (std::filesystem::exists(base)) return;
    testing::write(base, "");
    REQUIRE(make_empty_ext4(base, {.size = mib(64), .label = "base"}).has_value());
    std::filesystem::permissions(base, std::filesystem::perms(0444));
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;
  ~Fixture() {
    for (const auto& uid : uids_) CHECK(apply(DeactivateRootDisk{uid}).has_value());
    // A loop is let go of after the ioctl that removed its node: the kernel drops the last reference a little later.
    for (int i = 0; i < 200 && !own_loops().empty(); ++i) ::usleep(10'000);
    CHECK(own_loops().empty());
  }

  std::string make(unsigned number, Bytes cow = mib(16), Bytes size = {}) {
    const auto uid = uid_number(number);
    std::filesystem::create_directories(vm_dir(layout, uid));
    const MakeRootDisk job{
        .vm_uid = uid, .base_path = base, .size = size, .cow_size = cow, .backend = api::DiskBackend::DmSnapshot};
    const auto made = run(job, layout, {});
    REQUIRE_MESSAGE(made.has_value(), made.error().message);
    uids_.push_back(uid);
    return uid;
  }
  [[nodiscard]] Result<Applied> activate(const std::string& uid, Bytes size = mib(64)) const {
    return apply(ActivateRootDisk{uid, size}, layout);
  }
  [[nodiscard]] SnapshotView view(const std::string& uid) const {
    auto seen = observe_root_disk(layout, uid);
    REQUIRE_MESSAGE(seen.has_value(), seen.error().message);
    REQUIRE(seen->snapshot.has_value());
    return *seen->snapshot;
  }
  [[nodiscard]] std::vector<LoopStatus> own_loops() const {
    std::vector<LoopStatus> out;
    const auto all = list_loops();
    REQUIRE(all.has_value());
    for (const auto& loop : *all) {
      if (view_of(loop).backing.starts_with(root_.native())) out.push_back(loop);
    }
    return out;
  }
  [[nodiscard]] std::size_t loops_over(const std::filesystem::path& path) const {
    const auto id = file_id(path).value();
    return static_cast<std::size_t>(std::ranges::count(own_loops(), id, &LoopStatus::file));
  }

  Layout layout;
  std::filesystem::path base;

 private:
  testing::Directory directory_;
  std::filesystem::path root_ = directory_.path();
  std::vector<std::string> uids_;
};

inline bool done(const Result<Applied>& applied, Applied what) {
  if (!applied) MESSAGE(applied.error().message);
  return applied.has_value() && *applied == what;
}

inline UniqueFd open_disk(const std::string& uid) {
  UniqueFd fd(::open(dm_device_path(uid).c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(fd.valid());
  return fd;
}

inline bool write_at(int fd, std::uint64_t offset, char fill, std::size_t size = 4096) {
  const std::string block(size, fill);
  return ::pwrite(fd, block.data(), size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size) && ::fsync(fd) == 0;
}

inline char read_at(int fd, std::uint64_t offset) {
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  char byte = 0;
  return ::pread(fd, &byte, 1, static_cast<off_t>(offset)) == 1 ? byte : '?';
}

// Chunk after chunk until the disk refuses. How many it took.
inline std::uint64_t fill_up(int fd, Bytes limit = mib(60)) {
  std::uint64_t chunks = 0;
  for (; chunks * kChunkSize.value < limit.value; ++chunks) {
    if (!write_at(fd, chunks * kChunkSize.value, 'f')) break;
  }
  return chunks;
}

}  // namespace banger::actuators::block
