// SPDX-License-Identifier: Apache-2.0
// Faults in a VM's life on the simulated host: whatever fails, wherever, the end is the same.
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::sim::FaultPoint;
using actuators::sim::SimCrash;

const std::vector<std::string> kStepNames{"ActivateRootDisk",  "DeactivateRootDisk", "MakeVmDirectory",   "WriteSidecar",
                                          "WriteVmInitrd",     "SyncDisks",          "RemoveVmDirectory", "MakeTap",
                                          "RemoveLink",        "LaunchVmm",          "KillVmm",           "RemoveCgroup",
                                          "ClearRunDirectory", "StartJob",           "ForgetJob"};

TEST_CASE("a step that fails, before or after its effect, only delays the way to Ready, Stopped and gone") {
  CHECK(kStepNames.size() >= 15);
  for (const auto& name : kStepNames) {
    for (const auto point : {FaultPoint::BeforeEffect, FaultPoint::AfterEffect}) {
      for (std::size_t count = 1; count <= 3; ++count) {
        CAPTURE(name);
        CAPTURE(static_cast<int>(point));
        CAPTURE(count);
        World world;
        world.host.set_device_mapper(count < 3);
        world.create_builtins();
        world.create_image();
        world.settle();
        const auto uid = world.create_vm();
        const Error error{.code = ErrorCode::Unavailable, .message = "no space", .sys_errno = 28};
        world.host.fail_next(name, error, point, count);
        world.settle();
        CHECK(world.condition("Ready") == "True Ready");
        CHECK(world.host.vmm_count(uid) == 1);
        world.host.fail_next(name, error, point, count);
        world.edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
        world.settle();
        CHECK(world.status().phase == "Stopped");
        world.host.fail_next(name, error, point, count);
        world.remove(World::vm_key());
        world.settle();
        CHECK_FALSE(world.exists(World::vm_key()));
        CHECK(world.host.leftovers().empty());
        CHECK(world.leases() == 0);
      }
    }
  }
}

TEST_CASE("a start that fails undoes taps and cgroup, keeps disks, and names the root cause beside what could not be undone") {
  World world;
  world.create_builtins();
  world.create_image();
  world.settle();
  const auto uid = world.create_vm();
  const Error launch{.code = ErrorCode::NotFound, .message = "no qemu here", .sys_errno = 2};
  const Error undo{.code = ErrorCode::Unavailable, .message = "no netlink", .sys_errno = 0};
  world.host.fail_next("LaunchVmm", launch, FaultPoint::AfterEffect);
  world.host.fail_next("RemoveLink", undo, FaultPoint::BeforeEffect);
  while (world.events.count("FailedLaunch") == 0) world.pass(World::vm_key());
  CHECK(world.condition("Ready") == "False StepFailed");
  CHECK(world.message("Ready").starts_with("Launch: LaunchVmm"));
  CHECK(world.message("Ready").find("no qemu here") != std::string::npos);
  CHECK(world.message("Ready").find("no netlink") != std::string::npos);
  CHECK(world.events.count("FailedUndo") == 1);
  CHECK(world.host.vmm_count(uid) == 0);
  CHECK(world.host.disk_exists(uid, "root"));
  const auto steps = world.status().steps;
  const auto failed = std::ranges::find(steps, "Launch", &api::StepStatus::name);
  REQUIRE(failed != steps.end());
  CHECK(failed->state == "Failed");
  world.settle();
  CHECK(world.condition("Ready") == "True Ready");
}

TEST_CASE("a daemon that dies after any number of steps is followed by one that finishes the work") {
  for (std::size_t cut = 0; cut < 48; ++cut) {
    CAPTURE(cut);
    World world;
    world.host.set_device_mapper(cut % 2 == 0);
    world.create_builtins();
    world.create_image();
    world.settle();
    const auto uid = world.create_vm();
    world.host.crash_after(cut / 2);
    try {
      world.settle();
    } catch (const SimCrash& crash) {
      INFO(crash.step);
    }
    world.host.clear_faults();
    world.host.restart_daemon();
    world.restart();
    world.settle();
    CHECK(world.condition("Ready") == "True Ready");
    CHECK(world.host.vmm_count(uid) == 1);
    CHECK(world.leases() == 1);
  }
}

TEST_CASE("a VM that is deleted at any point of its start, stop or restart ends with an empty host") {
  const auto stop = [](World& world) { world.edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; }); };
  const auto restart = [](World& world) { world.edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; }); };
  for (int what = 0; what < 3; ++what) {
    for (std::size_t cut = 0; cut < 40; ++cut) {
      CAPTURE(what);
      CAPTURE(cut);
      World world;
      world.host.set_device_mapper(cut % 2 == 0);
      world.create_builtins();
      world.create_image();
      world.settle();
      world.create_vm();
      if (what > 0) world.settle();
      if (what == 1) stop(world);
      if (what == 2) restart(world);
      world.host.crash_after(cut / 2);
      try {
        world.settle();
      } catch (const SimCrash&) {
        world.host.restart_daemon();
      }
      world.host.clear_faults();
      world.restart();
      world.remove(World::vm_key());
      world.settle();
      CHECK_FALSE(world.exists(World::vm_key()));
      CHECK(world.host.leftovers().empty());
      CHECK(world.leases() == 0);
    }
  }
}

TEST_CASE("a daemon that dies at any point of a delete is followed by one that finishes it") {
  for (std::size_t cut = 0; cut < 32; ++cut) {
    CAPTURE(cut);
    World world;
    world.host.set_device_mapper(cut % 2 == 0);
    world.running_vm();
    world.remove(World::vm_key());
    world.host.crash_after(cut / 2);
    try {
      world.settle();
    } catch (const SimCrash&) {
      world.host.restart_daemon();
    }
    world.host.clear_faults();
    world.restart();
    world.settle();
    CHECK_FALSE(world.exists(World::vm_key()));
    CHECK(world.host.leftovers().empty());
    CHECK(world.leases() == 0);
  }
}

TEST_CASE_FIXTURE(World, "a job that fails is tried again, and its error is shown") {
  create_builtins();
  create_image();
  settle();
  create_vm();
  host.fail_jobs("root-disk", Error{.code = ErrorCode::Unavailable, .message = "no space left", .sys_errno = 28});
  for (int i = 0; i < 10; ++i) round();
  CHECK(condition("Ready") == "False StepFailed");
  CHECK(message("Ready") == "making the disk \"root\": no space left");
  CHECK(events.count("FailedDisk") >= 1);
  host.fail_jobs("root-disk", std::nullopt);
  settle();
  CHECK(condition("Ready") == "True Ready");
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
