// SPDX-License-Identifier: Apache-2.0
// The model keeps what was measured of loops and dm-snapshot.
#include <doctest/doctest.h>

#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {
namespace {

const std::string kOne = "8d3f2a10-5c4e-4b7a-9f21-0a1b2c3d4e5f";
const std::string kTwo = "1d3f2a10-5c4e-4b7a-9f21-0a1b2c3d4e5f";

struct Rig {
  ManualClock clock;
  SimHost host{{.state_dir = "/var/lib/banger", .run_dir = "/run/banger"}, clock};

  Rig() {
    host.set_device_mapper(true);
    host.add_file("/base.ext4", mib(256), 1);
  }
  Result<Applied> make(const std::string& uid) {
    REQUIRE(host.apply(MakeVmDirectory{.vm_uid = uid, .addresses = {}}));
    return host.apply(StartJob{.key = {.owner_uid = uid, .name = "root-disk"},
                               .spec = MakeRootDisk{.vm_uid = uid, .base_path = "/base.ext4", .size = mib(512)}});
  }
  Result<Applied> activate(const std::string& uid, Bytes size = mib(512)) {
    return host.apply(ActivateRootDisk{.vm_uid = uid, .size = size});
  }
  SnapshotView node(const std::string& uid) { return host.observe_vm(uid, 0)->snapshot.value(); }
};

TEST_CASE_FIXTURE(Rig, "two clones stand on one read-only loop; the last to go takes it along") {
  for (const auto& uid : {kOne, kTwo}) {
    REQUIRE(make(uid));
    CHECK(activate(uid) == Applied::Changed);
    CHECK(activate(uid) == Applied::Unchanged);
  }
  CHECK(host.loops().size() == 3);
  CHECK(node(kOne).origin == node(kTwo).origin);
  CHECK(node(kOne).cow != node(kTwo).cow);
  CHECK(node(kOne).live);
  CHECK(host.observe_vm(kOne, 0)->disks.at(0).backend == "dm-snapshot");
  CHECK(host.apply(DeactivateRootDisk{kOne}) == Applied::Changed);
  CHECK(host.loops().size() == 2);
  CHECK(host.apply(DeactivateRootDisk{kTwo}) == Applied::Changed);
  CHECK(host.apply(DeactivateRootDisk{kTwo}) == Applied::Unchanged);
  CHECK(host.loops().empty());
}

TEST_CASE_FIXTURE(Rig, "a full COW overflows, can be grown, or its node made anew, and goes on; a broken one never") {
  REQUIRE(make(kOne));
  REQUIRE(activate(kOne));
  const auto room = node(kOne).cow_size;
  host.fill_cow(kOne, Bytes{room.value + 1});
  CHECK(node(kOne).overflow);
  CHECK(node(kOne).cow_used == room);
  CHECK(host.apply(GrowRootCow{.vm_uid = kOne, .size = {room.value * 2}}) == Applied::Changed);
  CHECK(node(kOne).cow_size.value == room.value * 2);
  CHECK_FALSE(node(kOne).overflow);
  host.fill_cow(kOne, gib(1));
  CHECK(node(kOne).overflow);
  CHECK(activate(kOne) == Applied::Unchanged);
  CHECK(node(kOne).overflow);
  REQUIRE(host.apply(DeactivateRootDisk{kOne}));
  REQUIRE(activate(kOne));
  CHECK_FALSE(node(kOne).overflow);
  CHECK(node(kOne).cow_used.value == room.value * 2);
  host.break_cow(kOne);
  REQUIRE(host.apply(DeactivateRootDisk{kOne}));
  REQUIRE(activate(kOne));
  CHECK(node(kOne).invalid);
}

TEST_CASE_FIXTURE(Rig, "half-made, suspended and wiped nodes are made whole when nobody has them open, and foreign ones left") {
  REQUIRE(make(kOne));
  host.half_create(kOne);
  CHECK_FALSE(node(kOne).live);
  CHECK(activate(kOne) == Applied::Changed);
  host.suspend(kOne);
  CHECK(activate(kOne) == Applied::Changed);
  CHECK_FALSE(node(kOne).suspended);
  host.wipe_node(kOne);
  CHECK(host.loops().empty());
  host.open_node(kOne, true);
  CHECK(activate(kOne).error().code == ErrorCode::Busy);
  CHECK(host.apply(DeactivateRootDisk{kOne}).error().code == ErrorCode::Busy);
  CHECK_FALSE(host.remove_node(kOne));
  host.open_node(kOne, false);
  CHECK(activate(kOne) == Applied::Changed);
  CHECK(host.remove_node(kOne));
  host.add_node(dm_name(kOne), "LVM-x");
  CHECK(activate(kOne).error().code == ErrorCode::Conflict);
  CHECK(host.apply(DeactivateRootDisk{kOne}) == Applied::Unchanged);
  CHECK(host.nodes().size() == 1);
}

TEST_CASE_FIXTURE(Rig,
                  "someone else's loop over the COW, no free loop and no device-mapper are said, and nothing half-made stays") {
  REQUIRE(make(kOne));
  const auto cow = root_cow_path({.state_dir = "/var/lib/banger", .run_dir = "/run/banger"}, kOne).string();
  const auto device = host.add_loop(cow);
  CHECK(activate(kOne).error().code == ErrorCode::Conflict);
  CHECK(host.observe_vm(kOne, 0)->loops.size() == 1);
  host.detach(device);
  host.set_free_loops(1);
  CHECK(activate(kOne).error().code == ErrorCode::Unavailable);
  CHECK(host.loops().empty());
  CHECK(host.nodes().empty());
  host.set_free_loops(std::nullopt);
  host.set_device_mapper(false);
  CHECK(activate(kOne).error().code == ErrorCode::Unavailable);
  host.set_device_mapper(true);
  CHECK(activate(kOne) == Applied::Changed);
  host.reboot_host();
  CHECK(host.loops().empty());
  CHECK(host.nodes().empty());
  CHECK(activate(kOne) == Applied::Changed);
}

}  // namespace
}  // namespace banger::actuators::sim
