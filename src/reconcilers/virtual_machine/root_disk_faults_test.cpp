// SPDX-License-Identifier: Apache-2.0
// What cannot be looked at, was cut short or cannot be had, for one VM beside another on the simulated host.
#include <doctest/doctest.h>

#include "actuators/cow_size.hpp"
#include "actuators/names.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

struct TwoVms : World {
  std::string uid;
  std::string other;

  TwoVms() {
    host.set_device_mapper(true);
    create_builtins();
    create_image();
    uid = create_large("web");
    other = create_large("other");
    settle();
    REQUIRE(condition("Ready") == "True Ready");
    REQUIRE(condition("Ready", "other") == "True Ready");
  }
  std::string create_large(const std::string& name) {
    auto object = vm_object(name);
    std::get<api::VirtualMachine>(object.body).spec.root_disk = {.size = gib(1), .cow = {.size = mib(64)}};
    return create(std::move(object)).meta.uid;
  }
  void power(api::PowerState state, const std::string& name = "web") {
    edit_vm([&](auto& spec, auto&) { spec.power_state = state; }, name);
  }
  actuators::SnapshotView node() { return host.observe_vm(uid, 1)->snapshot.value(); }
  void later(std::chrono::seconds time = std::chrono::seconds(31)) {
    clock.advance(time);
    settle();
  }
  void rounds(int count) {
    for (int i = 0; i < count; ++i) round();
  }
};

constexpr const char* kWhy = "/dev/mapper/control does not work";

TEST_CASE_FIXTURE(TwoVms, "a device that cannot be looked at is said of its VM, which runs on, and is said no more when it can") {
  const auto pid = status().vmm->pid;
  host.blind(uid, kWhy);
  later();
  CHECK(condition("RootDeviceUnseen") == "True NotReadable");
  CHECK(message("RootDeviceUnseen") == std::string("the device of the root disk cannot be looked at: ") + kWhy);
  CHECK(condition("RootDeviceLost") == "absent");
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid == pid);
  CHECK(condition("RootDeviceUnseen", "other") == "absent");
  later();
  CHECK(events.count("RootDeviceUnseen") == 1);
  host.blind(uid, "");
  later();
  CHECK(condition("RootDeviceUnseen") == "absent");
  CHECK(status().vmm->pid == pid);
}

TEST_CASE_FIXTURE(TwoVms, "what cannot be looked at is neither started on nor taken down, and goes on by itself") {
  host.blind(uid, kWhy);
  power(api::PowerState::Stopped);
  rounds(12);
  CHECK(host.vmm_count(uid) == 0);
  CHECK(host.nodes().size() == 2);
  CHECK(message("Ready").find(kWhy) != std::string::npos);
  host.blind(uid, "");
  later();
  CHECK(host.nodes().size() == 1);
  CHECK(status().phase == "Stopped");

  host.blind(uid, kWhy);
  power(api::PowerState::Running);
  rounds(12);
  CHECK(condition("Ready") == "False RootDeviceUnseen");
  CHECK(host.vmm_count(uid) == 0);
  CHECK(host.vmm_count(other) == 1);
  host.blind(uid, "");
  later();
  CHECK(condition("Ready") == "True Ready");

  host.blind(uid, kWhy);
  remove(vm_key());
  rounds(12);
  CHECK(exists(vm_key()));
  CHECK(host.disk_exists(uid, "root"));
  CHECK(message("Ready").find(kWhy) != std::string::npos);
  host.blind(uid, "");
  later();
  CHECK_FALSE(exists(vm_key()));
  CHECK(host.nodes().size() == 1);
}

TEST_CASE("where device-mapper does not answer, VMs without a device of it come, run and go as ever") {
  World world;
  world.create_builtins();
  world.create_image();
  const auto uid = world.create_vm();
  world.host.blind(uid, kWhy);
  world.settle();
  CHECK(world.condition("Ready") == "True Ready");
  CHECK(world.condition("RootDeviceUnseen") == "absent");
  world.remove(World::vm_key());
  world.settle();
  CHECK_FALSE(world.exists(World::vm_key()));
  CHECK(world.host.leftovers().empty());
}

TEST_CASE_FIXTURE(TwoVms, "a VM that cannot be looked at at all says so itself, once, and nothing is done to it") {
  power(api::PowerState::Stopped);
  const auto mutations = host.mutations();
  host.fail_look(uid, Error{ErrorCode::Busy, "reading links: the links keep changing while they are read", 0});
  rounds(1);
  CHECK(condition("Ready") == "True Ready");  // of what passes by itself nothing is said
  host.fail_look(uid, Error{ErrorCode::Unavailable, "reading its directory: Input/output error", 0});
  rounds(3);
  CHECK(condition("Ready") == "Unknown NotObserved");
  CHECK(message("Ready") == "it cannot be looked at: reading its directory: Input/output error");
  CHECK(events.count("NotObserved") == 1);
  CHECK(host.mutations() == mutations);
  CHECK(condition("Ready", "other") == "True Ready");
  host.fail_look(uid, std::nullopt);
  settle();
  CHECK(status().phase == "Stopped");
}

TEST_CASE_FIXTURE(TwoVms, "a growth that was cut short is finished, also where it may not grow and after an overflow") {
  edit_vm([](auto& spec, auto&) { spec.root_disk.cow.growth = api::CowGrowth::Never; });
  settle();
  host.half_grow(uid, mib(128));
  later();
  CHECK(node().cow_size == mib(128));
  host.fill_cow(uid, mib(129));
  REQUIRE(node().overflow);
  host.half_grow(uid, mib(256));
  later();
  CHECK(node().cow_size == mib(256));
  CHECK_FALSE(node().overflow);
  CHECK(condition("RootDiskFull") == "absent");
}

TEST_CASE_FIXTURE(TwoVms, "a growth that cannot be had is told in a warning, leaves the VM ready, and is tried again") {
  host.set_space(actuators::SpaceLevel::Low);
  host.fill_cow(uid, mib(60));
  rounds(12);
  CHECK(condition("RootDiskFilling") == "True SnapshotFilling");
  CHECK(message("RootDiskFilling").find("it is being grown; that failed: too little would be left free") != std::string::npos);
  CHECK(condition("Ready") == "True Ready");
  CHECK(node().cow_size == mib(64));
  CHECK(events.count("RootDiskFilling") == 1);
  CHECK(events.count("FailedGrowCow") == 0);
  host.set_space(actuators::SpaceLevel::Plenty);
  later();
  CHECK(node().cow_size == mib(128));
  CHECK(condition("RootDiskFilling") == "absent");
}

TEST_CASE_FIXTURE(TwoVms, "a device suspended under a VMM that is to end is resumed, also when its files are gone") {
  for (const bool files : {true, false}) {
    CAPTURE(files);
    host.suspend(uid);
    if (!files) host.lose_directory(uid);
    if (files) {
      power(api::PowerState::Stopped);
      later();
      CHECK(status().phase == "Stopped");
      power(api::PowerState::Running);
      later();
      REQUIRE(condition("Ready") == "True Ready");
    } else {
      remove(vm_key());
      later();
      CHECK_FALSE(exists(vm_key()));
      CHECK(host.nodes().size() == 1);
    }
  }
}

TEST_CASE_FIXTURE(TwoVms, "a device suspended under somebody who holds it is resumed by a delete, so that he can let go") {
  power(api::PowerState::Stopped);
  settle();
  power(api::PowerState::Running);
  settle();
  host.open_node(uid, true);
  remove(vm_key());
  rounds(8);
  host.suspend(uid);
  host.lose_directory(uid);
  rounds(4);
  CHECK_FALSE(node().suspended);
  host.open_node(uid, false);
  later();
  CHECK_FALSE(exists(vm_key()));
  CHECK(host.nodes().size() == 1);
}

TEST_CASE_FIXTURE(TwoVms, "a link in the place of a directory goes with its VM, and keeps a start from being made through it") {
  power(api::PowerState::Stopped);
  settle();
  host.link_directory(uid);
  power(api::PowerState::Running);
  rounds(8);
  CHECK(condition("Ready").starts_with("False "));
  CHECK(host.vmm_count(uid) == 0);
  CHECK(condition("Ready", "other") == "True Ready");
  remove(vm_key());
  later();
  CHECK_FALSE(exists(vm_key()));
  for (const auto& left : host.leftovers()) CHECK(left.find(uid) == std::string::npos);
}

TEST_CASE_FIXTURE(TwoVms, "without a free minor number a start is said to fail, leaves nothing, and heals by itself") {
  power(api::PowerState::Stopped);
  settle();
  host.set_free_minors(0);
  power(api::PowerState::Running);
  rounds(8);
  CHECK(message("Ready").find("device-mapper has no free minor number") != std::string::npos);
  CHECK(host.nodes().size() == 1);
  host.set_free_minors(std::nullopt);
  settle();
  CHECK(condition("Ready") == "True Ready");
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
