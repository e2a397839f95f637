// SPDX-License-Identifier: Apache-2.0
// Real snapshots on a real device-mapper; skipped where this machine has none (the test host has: tests/testhost).
#include "actuators/block/root_disk.hpp"

#include <sys/mount.h>

#include <atomic>
#include <chrono>

#include "actuators/block/root_disk_fixture_test.hpp"
#include "actuators/block/root_files.hpp"
#include "actuators/block/snapshot_watcher.hpp"
#include "base/testing.hpp"

namespace banger::actuators::block {

TEST_CASE("two disks of one image share one base loop, and what one writes the other does not see") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto a = f.make(1);
  const auto b = f.make(2);
  REQUIRE(done(f.activate(a), Applied::Changed));
  REQUIRE(done(f.activate(b), Applied::Changed));
  CHECK(done(f.activate(a), Applied::Unchanged));
  CHECK(f.own_loops().size() == 3);
  CHECK(f.loops_over(f.base) == 1);
  {
    const auto first = open_disk(a);
    const auto second = open_disk(b);
    CHECK(write_at(first.get(), mib(32).value, 'a'));
    CHECK(write_at(second.get(), mib(32).value, 'b'));
    CHECK(read_at(first.get(), mib(32).value) == 'a');
    CHECK(read_at(second.get(), mib(32).value) == 'b');
  }
  CHECK(testing::is_clean(dm_device_path(a)));
  const auto view = f.view(a);
  CHECK(view.ours);
  CHECK(view.live);
  CHECK_FALSE(view.suspended);
  CHECK(view.open_count == 0);
  CHECK(view.size == mib(64));
  CHECK(view.origin_file == root_base_path(f.layout, a).native());
  CHECK(view.cow_file == root_cow_path(f.layout, a).native());
  CHECK(view.cow_size == mib(16));
  CHECK(view.cow_used >= Bytes{3 * kChunkSize.value});
  CHECK(view.cow_used < mib(1));
  CHECK(f.view(b).origin == view.origin);
  // Read-only, so that nobody writes the origin; ours say whose they are; all of them clear themselves.
  for (const auto& loop : f.own_loops()) {
    CHECK(loop.autoclear);
    CHECK((loop.read_only == (loop.file == file_id(f.base).value())));
  }
  CHECK(done(apply(DeactivateRootDisk{a}), Applied::Changed));
  CHECK(done(apply(DeactivateRootDisk{a}), Applied::Unchanged));
  CHECK_FALSE(std::filesystem::exists(dm_device_path(a)));
  CHECK(f.loops_over(f.base) == 1);
}

TEST_CASE("all disks are observed in one pass as each alone, and others' nodes are left out") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto a = f.make(1);
  const auto b = f.make(2);
  const auto idle = f.make(3);
  REQUIRE(f.activate(a));
  REQUIRE(f.activate(b));
  const auto all = all_root_disks(f.layout, {a, idle});
  REQUIRE(all.has_value());
  for (const auto& uid : {a, b}) {
    REQUIRE(all->contains(uid));
    const auto alone = observe_root_disk(f.layout, uid);
    REQUIRE(alone.has_value());
    CHECK(all->at(uid).snapshot->cow_file == alone->snapshot->cow_file);
    CHECK(all->at(uid).snapshot->cow_used == alone->snapshot->cow_used);
    CHECK(alone->loops.size() == 2);
  }
  CHECK(all->at(a) == *observe_root_disk(f.layout, a));
  // The base loop is over its root.base too.
  CHECK(all->at(idle).loops.size() == 1);
  CHECK_FALSE(all->at(idle).snapshot.has_value());
  const Layout elsewhere{"/nonexistent/state", "/nonexistent/run"};
  CHECK(all_root_disks(elsewhere, {})->empty());
}

TEST_CASE("a full snapshot overflows and loses nothing; grown under a living VMM it takes writes again") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1, mib(8));
  REQUIRE(f.activate(uid));
  std::atomic<int> hints = 0;
  const SnapshotWatcher watcher(
      f.layout, [&](const std::string& who) { hints += who == uid ? 1 : 0; }, std::chrono::milliseconds(20));
  const auto disk = open_disk(uid);
  const auto before = fill_up(disk.get());
  CHECK(before >= 110);
  CHECK(before < 128);
  const auto full = f.view(uid);
  CHECK(full.overflow);
  CHECK_FALSE(full.invalid);
  CHECK(full.cow_used == full.cow_size);
  for (std::uint64_t chunk = 0; chunk < before; ++chunk) {
    if (read_at(disk.get(), chunk * kChunkSize.value) != 'f') FAIL("chunk ", chunk, " is lost");
  }
  for (int i = 0; i < 500 && hints == 0; ++i) ::usleep(10'000);
  CHECK(hints > 0);

  CHECK(done(apply(GrowRootCow{uid, mib(16)}, f.layout), Applied::Changed));
  CHECK(done(apply(GrowRootCow{uid, mib(16)}, f.layout), Applied::Unchanged));
  CHECK(done(apply(GrowRootCow{uid, mib(8)}, f.layout), Applied::Unchanged));
  const auto grown = f.view(uid);
  CHECK_FALSE(grown.overflow);
  CHECK(grown.cow_size == mib(16));
  CHECK(grown.cow_used < mib(9));
  CHECK(grown.open_count == 1);
  CHECK(write_at(disk.get(), mib(40).value, 'g'));
  CHECK(read_at(disk.get(), mib(40).value) == 'g');
  CHECK(read_at(disk.get(), 0) == 'f');
  for (int i = 0; i < 200 && f.loops_over(root_cow_path(f.layout, uid)) > 1; ++i) ::usleep(10'000);
  CHECK(f.loops_over(root_cow_path(f.layout, uid)) == 1);
  CHECK(done(f.activate(uid), Applied::Unchanged));
}

TEST_CASE("a snapshot that is grown before it is full never notices") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1, mib(8));
  REQUIRE(f.activate(uid));
  const auto disk = open_disk(uid);
  CHECK(fill_up(disk.get(), mib(4)) == 64);
  CHECK(done(apply(GrowRootCow{uid, full_cow_size(mib(64))}, f.layout), Applied::Changed));
  CHECK(f.view(uid).cow_size == full_cow_size(mib(64)));
  CHECK(fill_up(disk.get(), mib(64)) == 1024);
  CHECK_FALSE(f.view(uid).overflow);
}

TEST_CASE("a COW that cannot be written makes its snapshot invalid, which is said and never rebuilt silently") {
  if (!have_device_mapper()) return;
  if (!banger::testing::enter_private_mounts()) {
    MESSAGE("skipped: no right to mount a small file system");
    return;
  }
  const testing::Directory directory;
  REQUIRE(::mount("small", directory.path().c_str(), "tmpfs", 0, "size=24m") == 0);
  {
    Fixture f(directory.path());
    const auto uid = f.make(1, mib(8));
    // As a sparse one would be: this is why ours are not.
    const auto cow = root_cow_path(f.layout, uid);
    std::filesystem::resize_file(cow, 0);
    std::filesystem::resize_file(cow, mib(8).value);
    REQUIRE(f.activate(uid));
    const UniqueFd rest(::open((directory.path() / "rest").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    for (off_t size = 0; ::fallocate(rest.get(), 0, size, 65536) == 0;) size += 65536;
    while (::fallocate(rest.get(), FALLOC_FL_KEEP_SIZE, off_t{1} << 30, 4096) == 0) {
      static off_t at = off_t{1} << 30;
      at += 4096;
      if (::fallocate(rest.get(), FALLOC_FL_KEEP_SIZE, at, 4096) != 0) break;
    }
    {
      const auto disk = open_disk(uid);
      (void)fill_up(disk.get());
    }
    const auto view = f.view(uid);
    CHECK(view.invalid);
    CHECK_FALSE(view.overflow);
    CHECK(done(f.activate(uid), Applied::Unchanged));
    CHECK(f.view(uid).invalid);
  }
  ::umount2(directory.path().c_str(), MNT_DETACH);
}

TEST_CASE("what is half there is repaired: no table, another table, suspended, no file, another name") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1);
  const auto name = dm_name(uid);
  REQUIRE(dm::create(name, dm_uuid(uid)));
  CHECK_FALSE(f.view(uid).live);
  CHECK(done(f.activate(uid), Applied::Changed));
  CHECK(f.view(uid).live);
  CHECK(write_at(open_disk(uid).get(), 0, 'x'));

  REQUIRE(dm::suspend(name));
  CHECK(f.view(uid).suspended);
  CHECK(done(f.activate(uid), Applied::Changed));
  CHECK_FALSE(f.view(uid).suspended);

  std::filesystem::remove(dm_device_path(uid));
  CHECK(done(f.activate(uid), Applied::Changed));
  CHECK(read_at(open_disk(uid).get(), 0) == 'x');

  REQUIRE(dm::load(name, {.length = mib(64).value / kSectorSize, .type = "error", .params = ""}));
  CHECK(done(f.activate(uid), Applied::Changed));  // what waited is not what was wanted
  CHECK(read_at(open_disk(uid).get(), 0) == 'x');

  REQUIRE(dm::load(name, {.length = mib(64).value / kSectorSize, .type = "error", .params = ""}));
  REQUIRE(dm::suspend(name));
  REQUIRE(dm::resume(name));
  CHECK_FALSE(f.view(uid).live);
  {
    const auto held = open_disk(uid);
    const auto refused = f.activate(uid);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::Busy);
    CHECK(apply(DeactivateRootDisk{uid}).error().code == ErrorCode::Busy);
  }
  CHECK(done(f.activate(uid), Applied::Changed));
  CHECK(read_at(open_disk(uid).get(), 0) == 'x');

  if (testing::is_installed("dmsetup")) {
    REQUIRE(testing::run_program({"dmsetup", "rename", "--noudevsync", name, name + "-moved"}).status == 0);
    CHECK(check_inactive(uid, f.layout).error().code == ErrorCode::Busy);
    CHECK(all_root_disks(f.layout, {uid})->at(uid).snapshot->ours);
    CHECK(done(f.activate(uid), Applied::Changed));
    CHECK(f.view(uid).name == name);
    CHECK(read_at(open_disk(uid).get(), 0) == 'x');
  }
}

TEST_CASE("a suspended node whose files are gone is resumed, and one that was renamed is listed and goes") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1);
  REQUIRE(f.activate(uid));
  const auto name = dm_name(uid);
  REQUIRE(dm::suspend(name));
  std::filesystem::remove_all(vm_dir(f.layout, uid));
  CHECK(f.view(uid).suspended);
  CHECK(done(f.activate(uid), Applied::Changed));
  CHECK_FALSE(f.view(uid).suspended);
  CHECK_FALSE(f.activate(uid));  // there is nothing to make it of
  if (testing::is_installed("dmsetup")) {
    REQUIRE(testing::run_program({"dmsetup", "rename", "--noudevsync", name, name + "-moved"}).status == 0);
    const auto nodes = observe_root_nodes(f.layout);
    REQUIRE(nodes.has_value());
    CHECK(std::ranges::count(*nodes, name + "-moved", &SnapshotView::name) == 1);
  }
  CHECK(done(apply(DeactivateRootDisk{uid}), Applied::Changed));
}

TEST_CASE("a node that was removed behind our back comes again with what was written") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1);
  REQUIRE(f.activate(uid));
  CHECK(write_at(open_disk(uid).get(), mib(1).value, 'k'));
  REQUIRE(dm::remove(dm_name(uid)));
  CHECK(done(f.activate(uid), Applied::Changed));
  CHECK(read_at(open_disk(uid).get(), mib(1).value) == 'k');
}

TEST_CASE("somebody else's node and somebody else's loop are said and left alone") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1);
  const auto name = dm_name(uid);
  REQUIRE(dm::create(name, "THEIRS-1"));
  for (const auto& refused : {f.activate(uid), apply(DeactivateRootDisk{uid})}) {
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::Conflict);
    CHECK(refused.error().message.find("NameConflict: ") != std::string::npos);
  }
  CHECK_FALSE(f.view(uid).ours);
  CHECK(check_inactive(uid, f.layout).has_value());
  CHECK((*dm::find(name))->uuid == "THEIRS-1");
  REQUIRE(dm::remove(name));
  {
    const auto theirs = attach_loop({.file = root_cow_path(f.layout, uid), .access = LoopAccess::ReadWrite, .label = "theirs"});
    REQUIRE(theirs.has_value());
    const auto refused = f.activate(uid);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::Conflict);
    CHECK(refused.error().message.find(theirs->path()) != std::string::npos);
    CHECK_FALSE(dm::find(name)->has_value());
    CHECK(f.loops_over(root_cow_path(f.layout, uid)) == 1);
    CHECK(observe_root_disk(f.layout, uid)->loops.front().label == "theirs");
  }
  CHECK(done(f.activate(uid), Applied::Changed));
}

TEST_CASE("a longer disk gets a longer base for all, and a disk never becomes shorter") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto a = f.make(1);
  const auto b = f.make(2);
  REQUIRE(f.activate(a));
  REQUIRE(f.activate(b, mib(256)));
  CHECK(f.loops_over(f.base) == 1);
  CHECK(f.view(a).size == mib(64));
  CHECK(f.view(b).size == mib(256));
  CHECK(read_at(open_disk(b).get(), mib(200).value) == '\0');
  CHECK(write_at(open_disk(b).get(), mib(200).value, 'l'));
  CHECK(read_at(open_disk(a).get(), mib(1).value) != 'l');
  CHECK(done(f.activate(a, mib(128)), Applied::Changed));
  CHECK(f.view(a).size == mib(128));
  CHECK(std::filesystem::file_size(f.base) == mib(256).value);
  CHECK(f.activate(a, {mib(128).value + 1}).error().code == ErrorCode::Invalid);
  CHECK(done(f.activate(b, {0}),
             least_disk_size(f.base, root_cow_path(f.layout, b)) == mib(256) ? Applied::Unchanged : Applied::Changed));
}

TEST_CASE("a sync takes what was written down into the file, and wakes what would wait for ever") {
  if (!have_device_mapper()) return;
  Fixture f;
  const auto uid = f.make(1);
  REQUIRE(f.activate(uid));
  const auto disk = open_disk(uid);
  const std::string mark(65536, 'm');
  REQUIRE(::pwrite(disk.get(), mark.data(), mark.size(), static_cast<off_t>(mib(32).value)) == 65536);
  CHECK((testing::read(root_cow_path(f.layout, uid)).find(mark) == std::string::npos));
  REQUIRE(dm::suspend(dm_name(uid)));
  CHECK(done(apply(SyncDisks{uid}, f.layout), Applied::Changed));
  CHECK_FALSE(f.view(uid).suspended);
  CHECK((testing::read(root_cow_path(f.layout, uid)).find(mark) != std::string::npos));
}

TEST_CASE("nodes' names lead back to their VM, and others lead nowhere") {
  const auto uid = uid_number(7);
  CHECK(uid_of_dm_name(dm_name(uid)) == uid);
  for (const auto& name : {std::string("banger-"), "banger-" + uid, uid, dm_name(uid) + "x", std::string("vg-root"),
                           std::string(), "x" + dm_name(uid)}) {
    CAPTURE(name);
    CHECK_FALSE(uid_of_dm_name(name).has_value());
  }
}

TEST_CASE("where there is no device-mapper there are no nodes, and a start says what is missing") {
  if (dm::check_snapshot_target()) return;
  Fixture f;
  const auto uid = uid_number(1);
  std::filesystem::create_directories(vm_dir(f.layout, uid));
  const auto refused = f.activate(uid);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::Unavailable);
  CHECK(refused.error().message.find("there is no device-mapper for it: /dev/mapper/control does not work") != std::string::npos);
  CHECK(done(apply(DeactivateRootDisk{uid}), Applied::Unchanged));
  CHECK(check_inactive(uid, f.layout).has_value());
  CHECK(observe_root_disk(f.layout, uid) == RootDiskView{});
  CHECK(all_root_disks(f.layout, {uid})->empty());
}

TEST_CASE("the fill of a snapshot is a percentage, or what went wrong") {
  CHECK(fill_of("256/1024 256") == Fill{.percent = 25});
  CHECK(fill_of("0/0 0") == Fill{});
  CHECK(fill_of("Overflow")->overflow);
  CHECK(fill_of("Invalid")->invalid);
  CHECK(fill_of("Merge failed")->invalid);
  CHECK_FALSE(fill_of("nonsense").has_value());
}

}  // namespace banger::actuators::block
