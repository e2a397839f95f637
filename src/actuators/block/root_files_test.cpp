// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/root_files.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "actuators/block/disks.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/block/root_disk.hpp"
#include "actuators/block/root_disk_view.hpp"
#include "actuators/block/snapshot.hpp"
#include "actuators/block/testing.hpp"
#include "actuators/cow_size.hpp"
#include "base/testing.hpp"

namespace banger::actuators::block {
namespace {

const std::string kVmUid = "0123abcd-0123-4567-89ab-0123456789ab";

struct FilesFixture {
  testing::Directory directory;
  Layout layout{directory.path() / "state", directory.path() / "run"};
  std::filesystem::path base = directory.path() / "state" / "images" / "base-1.ext4";
  std::filesystem::path link = root_base_path(layout, kVmUid);
  std::filesystem::path cow = root_cow_path(layout, kVmUid);

  FilesFixture() {
    std::filesystem::create_directories(vm_dir(layout, kVmUid));
    std::filesystem::create_directories(base.parent_path());
    make_base(base);
  }
  static void make_base(const std::filesystem::path& path) {
    testing::write(path, "");
    REQUIRE(make_empty_ext4(path, {.size = mib(64), .label = "base"}).has_value());
    std::filesystem::permissions(path, std::filesystem::perms(0444));
  }
  [[nodiscard]] MakeRootDisk job(Bytes size) const {
    return {.vm_uid = kVmUid, .base_path = base, .size = size, .backend = api::DiskBackend::DmSnapshot};
  }
  [[nodiscard]] bool takes_notes() const { return ::setxattr(base.c_str(), "user.banger.test", "1", 1, 0) == 0; }
};

struct stat look(const std::filesystem::path& path) {
  struct stat info{};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info;
}

}  // namespace

TEST_CASE("a snapshot's files are a link to the base and a preallocated file that reads as zeros") {
  const FilesFixture f;
  REQUIRE(make_root_files(f.job(mib(512)), f.layout).has_value());
  CHECK(file_id(f.link).value() == file_id(f.base).value());
  CHECK(std::filesystem::file_size(f.base) == mib(512).value);
  CHECK(look(f.base).st_blocks * 512 < 8 << 20);
  CHECK((look(f.base).st_mode & 0777) == 0444);
  const auto cow = look(f.cow);
  CHECK(static_cast<std::uint64_t>(cow.st_size) == default_cow_size(mib(512)).value);
  CHECK(cow.st_blocks * 512 >= cow.st_size);
  CHECK((cow.st_mode & 0777) == 0600);
  const UniqueFd fd(::open(f.cow.c_str(), O_RDONLY | O_CLOEXEC));
  std::string head(kChunkSize.value, 'x');
  REQUIRE(::pread(fd.get(), head.data(), head.size(), 0) == static_cast<ssize_t>(head.size()));
  CHECK(head.find_first_not_of('\0') == std::string::npos);
}

TEST_CASE("what is set aside is what was asked for, in whole chunks and no more than the disk can need") {
  const FilesFixture f;
  auto job = f.job(mib(64));
  job.cow_size = {mib(8).value + 1};
  REQUIRE(make_root_files(job, f.layout).has_value());
  CHECK(std::filesystem::file_size(f.cow) == mib(8).value + kChunkSize.value);
  std::filesystem::remove(f.cow);
  job.cow_size = gib(1);
  REQUIRE(make_root_files(job, f.layout).has_value());
  CHECK(std::filesystem::file_size(f.cow) == full_cow_size(mib(64)).value);
}

TEST_CASE("files that are there are kept; a disk that became longer gets a longer base, a shorter one does not") {
  const FilesFixture f;
  REQUIRE(make_root_files(f.job({0}), f.layout).has_value());
  testing::write(f.cow, "precious");
  CHECK(run(f.job(mib(128)), f.layout, {}).value_or("") == "dm-snapshot");
  CHECK(testing::read(f.cow) == "precious");
  CHECK(std::filesystem::file_size(f.link) == mib(128).value);
  auto other = f.job(mib(64));
  other.backend = api::DiskBackend::Copy;
  CHECK(run(other, f.layout, {}).value_or("") == "dm-snapshot");
  CHECK(std::filesystem::file_size(f.link) == mib(128).value);
  if (f.takes_notes()) CHECK(least_disk_size(f.link, f.cow) == mib(128));
  CHECK_FALSE(std::filesystem::exists(root_disk_path(f.layout, kVmUid)));
}

TEST_CASE("a lost link comes back from the image it was made from, and from no other") {
  const FilesFixture f;
  if (!f.takes_notes()) {
    MESSAGE("skipped: no extended attributes in the directory for temporary files");
    return;
  }
  REQUIRE(make_root_files(f.job({0}), f.layout).has_value());
  std::filesystem::remove(f.link);
  auto other = f.job({0});
  other.base_path = f.base.parent_path() / "base-2.ext4";
  FilesFixture::make_base(other.base_path);
  const auto refused = run(other, f.layout, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::Invalid);
  CHECK(refused.error().message.find("root.base is lost") != std::string::npos);
  CHECK(run(f.job({0}), f.layout, {}).value_or("") == "dm-snapshot");
  CHECK(file_id(f.link).value() == file_id(f.base).value());
}

TEST_CASE("many disks that extend one base leave it as long as the longest needs") {
  const FilesFixture f;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t i = 1; i <= 8; ++i) {
      threads.emplace_back([&f, i] {
        for (std::uint64_t round = 0; round < 20; ++round) CHECK(extend_base(f.base, mib(64 + i * 20 + round)).has_value());
      });
    }
  }
  CHECK(std::filesystem::file_size(f.base) == mib(64 + 160 + 19).value);
}

TEST_CASE("a full disk leaves no file and no link, and a growing one as it was") {
  if (!banger::testing::enter_private_mounts()) {
    MESSAGE("skipped: no right to mount a small file system");
    return;
  }
  const testing::Directory directory;
  REQUIRE(::mount("small", directory.path().c_str(), "tmpfs", 0, "size=24m") == 0);
  {
    const Layout layout{directory.path() / "state", directory.path() / "run"};
    std::filesystem::create_directories(vm_dir(layout, kVmUid));
    const auto base = directory.path() / "base.ext4";
    FilesFixture::make_base(base);
    MakeRootDisk job{.vm_uid = kVmUid, .base_path = base, .cow_size = mib(32), .backend = api::DiskBackend::DmSnapshot};
    const auto full = make_root_files(job, layout);
    REQUIRE_FALSE(full);
    CHECK(full.error().code == ErrorCode::Unavailable);
    CHECK(std::filesystem::is_empty(vm_dir(layout, kVmUid)));
    job.cow_size = mib(8);
    REQUIRE(make_root_files(job, layout).has_value());
    const auto cow = root_cow_path(layout, kVmUid);
    CHECK(grow_cow_file(cow, mib(64)).error().code == ErrorCode::Unavailable);
    CHECK(std::filesystem::file_size(cow) == mib(8).value);
    CHECK(grow_cow_file(cow, mib(12)).value_or(false));
    CHECK(grow_cow_file(cow, mib(10)).value_or(true) == false);
    CHECK(std::filesystem::file_size(cow) == mib(12).value);
  }
  ::umount2(directory.path().c_str(), MNT_DETACH);
}

TEST_CASE("a size below the image's and a base that is no file system are refused and leave nothing") {
  const FilesFixture f;
  const auto small = make_root_files(f.job(mib(32)), f.layout);
  REQUIRE_FALSE(small);
  CHECK(small.error().message == "rootDisk.size is 33554432 bytes, but the image needs at least 67108864");
  auto job = f.job({0});
  job.base_path = f.directory.path() / "text";
  testing::write(job.base_path, "text");
  CHECK(make_root_files(job, f.layout).error().code == ErrorCode::Invalid);
  CHECK(std::filesystem::is_empty(vm_dir(f.layout, kVmUid)));
}

TEST_CASE("a growth that would leave less than the reserve is refused before it takes anything") {
  const FilesFixture f;
  REQUIRE(make_root_files(f.job(mib(512)), f.layout).has_value());
  struct statvfs found{};
  REQUIRE(::statvfs(f.cow.c_str(), &found) == 0);
  const Bytes free{static_cast<std::uint64_t>(found.f_bfree) * found.f_frsize};
  const Bytes present{static_cast<std::uint64_t>(look(f.cow).st_size)};
  const auto grown = grow_cow_file(f.cow, {present.value + free.value - mib(1).value});
  REQUIRE_FALSE(grown.has_value());
  CHECK(grown.error().code == ErrorCode::Unavailable);
  CHECK(grown.error().sys_errno == ENOSPC);
  CHECK(grown.error().message.find(" free in its file system") != std::string::npos);
  CHECK(static_cast<std::uint64_t>(look(f.cow).st_size) == present.value);
  CHECK(growth_reserve(gib(10)) == mib(512));
  CHECK(growth_reserve(gib(1000)) == gib(1));
}

#ifdef BANGER_FAILPOINTS
namespace {

// Of the running test, for its children.
void hand_over(const FilesFixture& f) { ::setenv("BANGER_TEST_DIRECTORY", f.layout.state_dir.parent_path().c_str(), 1); }

Layout handed_over() {
  const char* directory = std::getenv("BANGER_TEST_DIRECTORY");
  REQUIRE(directory != nullptr);
  return {std::filesystem::path(directory) / "state", std::filesystem::path(directory) / "run"};
}

const std::string kOther = "fedcba98-0123-4567-89ab-0123456789ab";

}  // namespace

TEST_CASE("child: asks a device-mapper that does not answer" * doctest::skip()) {
  const auto layout = handed_over();
  const auto alone = observe_root_disk(layout, kVmUid);
  REQUIRE(alone.has_value());
  CHECK(alone->unseen.find("dm.control") != std::string::npos);
  const auto all = observe_root_disks(layout, {kVmUid, kOther}, {kVmUid, kOther});
  REQUIRE(all.has_value());
  CHECK(all->at(kVmUid).unseen == alone->unseen);
  CHECK_FALSE(check_inactive(kVmUid, layout).has_value());
  CHECK_FALSE(sync_root_node(kVmUid, layout).has_value());
  // Who has no root.cow has nothing to ask it for.
  CHECK(check_inactive(kOther, layout).has_value());
  CHECK(sync_root_node(kOther, layout) == false);
  const auto nodes = observe_root_nodes(layout);
  REQUIRE(nodes.has_value());
  CHECK(nodes->empty());
}

TEST_CASE("a device-mapper that is there and does not answer fails no look, and keeps what may have a node") {
  const FilesFixture f;
  REQUIRE(make_root_files(f.job(mib(64)), f.layout).has_value());
  hand_over(f);
  const auto ran = testing::run_child("child: asks a device-mapper that does not answer", "dm.control=error(ENOENT)");
  CHECK_MESSAGE(ran.status == 0, ran.output);
}

TEST_CASE("child: cannot open any loop" * doctest::skip()) {
  const auto layout = handed_over();
  CHECK_FALSE(list_loops().has_value());
  CHECK_FALSE(list_loops(layout.state_dir).has_value());
  CHECK(list_loops(layout.state_dir / "vms" / kOther).has_value());  // what stands over others' files is no fault
  const auto alone = observe_root_disk(layout, kVmUid);
  REQUIRE(alone.has_value());
  CHECK(alone->unseen.find("loop.open") != std::string::npos);
  const auto all = observe_root_disks(layout, {kVmUid, kOther}, {kVmUid, kOther});
  REQUIRE(all.has_value());
  CHECK(all->at(kVmUid).unseen == alone->unseen);
  CHECK_FALSE(all->contains(kOther));
}

TEST_CASE("a loop that cannot be asked is said of the VM over whose file it stands, and of no other") {
  const FilesFixture f;
  REQUIRE(make_root_files(f.job(mib(64)), f.layout).has_value());
  const auto loop = attach_loop({.file = f.cow, .access = LoopAccess::ReadWrite, .label = cow_loop_label(kVmUid)});
  if (!loop) {
    MESSAGE("skipped: no loop device can be made here: ", loop.error().message);
    return;
  }
  hand_over(f);
  const auto ran = testing::run_child("child: cannot open any loop", "loop.open=error(EACCES)");
  CHECK_MESSAGE(ran.status == 0, ran.output);
}
#endif

TEST_CASE("what stands in the place of a VM's directory has no disks, and fails no look") {
  const FilesFixture f;
  REQUIRE(make_root_files(f.job(mib(64)), f.layout).has_value());
  const auto directory = vm_dir(f.layout, kVmUid);
  REQUIRE(observe_disks(f.layout, kVmUid)->size() == 1);
  const auto moved = f.directory.path() / "moved";
  std::filesystem::rename(directory, moved);
  CHECK(observe_disks(f.layout, kVmUid)->empty());
  std::filesystem::create_directory_symlink(moved, directory);
  CHECK(observe_disks(f.layout, kVmUid)->empty());
  std::filesystem::remove(directory);
  testing::write(directory, "a file");
  const auto seen = observe_disks(f.layout, kVmUid);
  REQUIRE(seen.has_value());
  CHECK(seen->empty());
}

}  // namespace banger::actuators::block
