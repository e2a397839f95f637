// SPDX-License-Identifier: Apache-2.0
// A root disk that is a dm-snapshot, through a VM's life on the simulated host.
#include "reconcilers/virtual_machine/root_disk.hpp"

#include <doctest/doctest.h>

#include "actuators/cow_size.hpp"
#include "actuators/names.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

struct SnapshotWorld : World {
  SnapshotWorld() { host.set_device_mapper(true); }
  actuators::SnapshotView node(const std::string& uid) { return host.observe_vm(uid, 1)->snapshot.value(); }
  actuators::Sidecar record(const std::string& uid) { return host.observe_vm(uid, 1)->sidecar.value(); }
  api::DiskStatus root() {
    for (const auto& disk : status().disks) {
      if (disk.name == "root") return disk;
    }
    FAIL("there is no root disk in the status");
    return {};
  }
  void power(api::PowerState state) {
    edit_vm([&](auto& spec, auto&) { spec.power_state = state; });
    settle();
  }
  void stop() { power(api::PowerState::Stopped); }
  void start() { power(api::PowerState::Running); }
};

TEST_CASE_FIXTURE(SnapshotWorld, "a VM runs on a device over its image, locks its COW, and says so") {
  const auto uid = running_vm();
  const auto launch = host.launched(uid);
  REQUIRE(launch);
  CHECK(launch->disks[0].path == "/dev/mapper/banger-" + uid + "-root");
  CHECK(launch->disks[0].lock_path == "/var/lib/banger/vms/" + uid + "/root.cow");
  CHECK(node(uid).live);
  const auto disk = root();
  CHECK(disk.backend == "dm-snapshot");
  CHECK(disk.backend_reason.empty());
  CHECK(disk.size == mib(64));
  CHECK(disk.cow_size == mib(64));
  CHECK(disk.cow_used_percent == 0);
  CHECK(disk.device == launch->disks[0].path);
  const auto runtime = status().runtime;
  REQUIRE(runtime);
  CHECK(runtime->dm == "banger-" + uid + "-root");
  CHECK(runtime->loops.size() == 2);
  CHECK(runtime->taps.size() == 1);
  REQUIRE(runtime->process);
  CHECK(runtime->process->pid == status().vmm->pid);
}

TEST_CASE_FIXTURE(SnapshotWorld, "names are on record before what they name is made, and gone from it when that is gone") {
  create_builtins();
  create_image();
  settle();
  const auto uid = create_vm();
  for (int i = 0; i < 40 && host.nodes().empty(); ++i) {
    host.crash_after(0);
    try {
      round();
    } catch (const actuators::sim::SimCrash& crash) {
      const auto seen = host.observe_vm(uid, 1);
      if (crash.step == "ActivateRootDisk") CHECK(seen->sidecar->dm_name == actuators::dm_name(uid));
      if (crash.step == "MakeTap") CHECK(seen->sidecar->nics.at(0).tap == actuators::tap_name(uid, 0));
    }
  }
  host.clear_faults();
  settle();
  CHECK(record(uid).process->pid == status().vmm->pid);
  CHECK(record(uid).root_size == mib(64));
  stop();
  CHECK(record(uid).dm_name.empty());
  CHECK(record(uid).loop_files.empty());
  CHECK_FALSE(record(uid).process);
  CHECK(record(uid).nics.at(0).tap.empty());
  CHECK_FALSE(record(uid).nics.at(0).address.empty());
  CHECK(status().runtime->taps.empty());
  CHECK(host.nodes().empty());
  CHECK(host.loops().empty());
  start();
  CHECK(condition("Ready") == "True Ready");
  remove(vm_key());
  settle();
  CHECK(host.leftovers().empty());
}

TEST_CASE_FIXTURE(SnapshotWorld, "vm.json holds the object as it is wanted, from the finalizer on and also while stopped") {
  auto object = vm_object("web");
  std::get<api::VirtualMachine>(object.body).spec.power_state = api::PowerState::Stopped;
  const auto uid = create(std::move(object)).meta.uid;
  settle();
  CHECK(record(uid).spec == std::get<api::VirtualMachine>(store->get(vm_key())->body).spec);
  edit_vm([](auto& spec, auto& meta) {
    spec.memory = mib(512);
    meta.labels["tier"] = "front";
  });
  settle();
  auto wanted = store->get(vm_key())->meta;
  wanted.resource_version = 0;
  CHECK(record(uid).meta == wanted);
  CHECK(record(uid).spec.memory == mib(512));
  CHECK(wanted.finalizers.size() == 1);
  const auto mutations = host.mutations();
  restart();
  settle();
  CHECK(host.mutations() == mutations);
}

TEST_CASE_FIXTURE(SnapshotWorld, "a suspended device is resumed under its VMM") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.suspend(uid);
  settle();
  CHECK_FALSE(node(uid).suspended);
  CHECK(status().vmm->pid == pid);
}

TEST_CASE_FIXTURE(SnapshotWorld,
                  "a device whose table was taken away costs a restart, or is only said where the policy wants none") {
  const auto uid = running_vm();
  auto pid = status().vmm->pid;
  host.wipe_node(uid);
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid != pid);
  CHECK(events.count("RootDeviceLost") == 1);
  CHECK(node(uid).live);
  edit_vm([](auto& spec, auto&) { spec.restart_policy = api::RestartPolicy::Never; });
  settle();
  pid = status().vmm->pid;
  host.wipe_node(uid);
  settle();
  CHECK(status().vmm->pid == pid);
  CHECK(condition("RootDeviceLost") == "True TableGone");
}

TEST_CASE_FIXTURE(SnapshotWorld, "a device that lost its name under its VMM is said, and nothing is ended for it") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.rename_node(uid, "elsewhere");
  settle();
  CHECK(status().vmm->pid == pid);
  CHECK(condition("RootDeviceLost") == "True NodeRenamed");
  CHECK(condition("Ready") == "True Ready");
  stop();
  CHECK(host.nodes().empty());
  start();
  CHECK(condition("Ready") == "True Ready");
  CHECK(condition("RootDeviceLost") == "absent");
}

TEST_CASE_FIXTURE(SnapshotWorld, "a device of our name that is not ours and a loop over our file are left, and a start waits") {
  const auto uid = running_vm();
  stop();
  host.add_node(actuators::dm_name(uid), "LVM-x");
  start();
  CHECK(condition("NameConflict") == "True ForeignObject");
  CHECK(message("NameConflict").find("is not ours") != std::string::npos);
  CHECK(host.nodes().size() == 1);
  CHECK(host.vmm_count(uid) == 0);
  REQUIRE(host.remove_node(uid));
  const auto device = host.add_loop("/var/lib/banger/vms/" + uid + "/root.cow");
  clock.advance(std::chrono::seconds(31));
  settle();
  CHECK(message("NameConflict").starts_with(device + " stands over "));
  CHECK(host.vmm_count(uid) == 0);
  host.detach(device);
  clock.advance(std::chrono::seconds(31));
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(condition("NameConflict") == "absent");
}

TEST_CASE_FIXTURE(SnapshotWorld, "a COW that fills is warned of once and grown, never beyond what the disk can need") {
  const auto uid = running_vm();
  host.fill_cow(uid, mib(40));
  settle();
  CHECK(root().cow_used_percent == 62);
  CHECK(condition("RootDiskFilling") == "absent");
  host.fill_cow(uid, mib(52));
  settle();
  CHECK(events.count("RootDiskFilling") == 1);
  CHECK(root().cow_size == actuators::full_cow_size(mib(64)));
  CHECK(actuators::full_cow_size(mib(64)) > mib(64));
  CHECK(condition("RootDiskFilling") == "absent");
  CHECK(condition("Ready") == "True Ready");
  host.fill_cow(uid, mib(64));
  settle();
  CHECK(condition("RootDiskFilling") == "absent");  // it cannot overflow any more
}

TEST_CASE_FIXTURE(SnapshotWorld, "with growth never a COW is only warned of, and grown when its spec says more, under the VMM") {
  create_builtins();
  create_image();
  auto object = vm_object("web");
  auto& disk = std::get<api::VirtualMachine>(object.body).spec.root_disk;
  disk = {.size = gib(1), .cow = {.size = mib(64), .growth = api::CowGrowth::Never}};
  const auto uid = create(std::move(object)).meta.uid;
  settle();
  const auto pid = status().vmm->pid;
  host.fill_cow(uid, mib(60));
  settle();
  CHECK(condition("RootDiskFilling") == "True SnapshotFilling");
  CHECK(root().cow_size == mib(64));
  clock.advance(std::chrono::minutes(5));
  settle();
  CHECK(events.count("RootDiskFilling") == 1);
  edit_vm([](auto& spec, auto&) { spec.root_disk.cow.size = mib(128); });
  settle();
  CHECK(root().cow_size == mib(128));
  CHECK(condition("RootDiskFilling") == "absent");
  CHECK(status().vmm->pid == pid);
  CHECK(status().pending_changes.empty());
}

TEST_CASE_FIXTURE(SnapshotWorld, "an overflow is said, and room is made while the VM runs") {
  create_builtins();
  create_image();
  auto object = vm_object("web");
  std::get<api::VirtualMachine>(object.body).spec.root_disk = {.size = gib(1), .cow = {.size = mib(64)}};
  const auto uid = create(std::move(object)).meta.uid;
  settle();
  host.fill_cow(uid, mib(65));
  pass(vm_key());
  CHECK(condition("RootDiskFull") == "True SnapshotOverflow");
  settle();
  CHECK(events.count("RootDiskFull") == 1);
  CHECK(root().cow_size == mib(128));
  CHECK(host.vmm_count(uid) == 1);
  CHECK(condition("RootDiskFull") == "absent");
  CHECK(condition("Ready") == "True Ready");
  CHECK_FALSE(node(uid).overflow);
}

TEST_CASE_FIXTURE(SnapshotWorld, "a disk that the kernel gave up is said, never made anew, and starts again when it was mended") {
  const auto uid = running_vm();
  host.break_cow(uid);
  settle();
  CHECK(condition("RootDiskInvalid") == "True SnapshotInvalid");
  CHECK(message("RootDiskInvalid").find("root.cow") != std::string::npos);
  CHECK(host.vmm_count(uid) == 1);
  stop();
  start();
  CHECK(status().phase == "Failed");
  CHECK(condition("Ready") == "False RootDiskInvalid");
  CHECK(host.vmm_count(uid) == 0);
  CHECK(host.disk_exists(uid, "root"));
  CHECK(events.count("RootDiskInvalid") >= 1);
  stop();
  host.mend_cow(uid);
  start();
  CHECK(condition("Ready") == "True Ready");
  CHECK(condition("RootDiskInvalid") == "absent");
}

TEST_CASE_FIXTURE(SnapshotWorld, "a larger root disk is taken up at the next start") {
  const auto uid = running_vm();
  edit_vm([](auto& spec, auto&) { spec.root_disk.size = mib(512); });
  settle();
  CHECK(node(uid).size == mib(64));
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(node(uid).size == mib(512));
  CHECK(root().size == mib(512));
  CHECK(condition("Ready") == "True Ready");
}

TEST_CASE_FIXTURE(SnapshotWorld,
                  "a lost record of a running VM is built anew from what is observed, and a delete removes everything") {
  const auto uid = running_vm();
  auto before = record(uid);
  for (auto& nic : before.nics) {  // what the guest was told cannot be observed
    nic.mtu = 0;
    nic.nameservers.clear();
  }
  for (const bool spoilt : {false, true}) {
    CAPTURE(spoilt);
    spoilt ? host.spoil_sidecar(uid, "vm.json is writable by others (mode 0666)") : host.lose_sidecar(uid);
    settle();
    const auto after = record(uid);
    CHECK(after.dm_name == before.dm_name);
    CHECK(after.loop_files == before.loop_files);
    CHECK(after.root_size == before.root_size);
    CHECK(after.root_backend == "dm-snapshot");
    CHECK(after.process == before.process);
    CHECK(after.nics == before.nics);
    CHECK_FALSE(after.kernel);
    CHECK(condition("RestartRequired") == "absent");
    CHECK(after.disk_names == before.disk_names);
    CHECK(after.meta == before.meta);
    CHECK(after.spec == before.spec);
  }
  CHECK(events.count("SidecarLost") == 2);
  host.lose_sidecar(uid);
  remove(vm_key());
  settle();
  CHECK(host.leftovers().empty());
}

TEST_CASE_FIXTURE(SnapshotWorld, "a record lost while the VM was stopped does not make its disk a new one") {
  const auto uid = running_vm();
  edit_vm([](auto& spec, auto&) { spec.root_disk.size = mib(512); });
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  stop();
  host.lose_sidecar(uid);
  settle();
  CHECK(record(uid).launches == 2);
  CHECK(record(uid).root_size == mib(512));
  start();
  CHECK(condition("Ready") == "True Ready");
  stop();
  host.lose_sidecar(uid);
  host.lose_disk(uid, "root");
  start();
  CHECK(condition("Ready") == "False DataLost");
  CHECK_FALSE(host.disk_exists(uid, "root"));
}

TEST_CASE_FIXTURE(SnapshotWorld, "a delete says what it waits for when a device or a loop is held, and ends when it is let go") {
  const auto uid = running_vm();
  host.open_node(uid, true);
  remove(vm_key());
  for (int i = 0; i < 8; ++i) round();
  CHECK(message("Ready").find("the device banger-" + uid + "-root is held open") != std::string::npos);
  CHECK(message("Ready").find("its directory waits for the device") != std::string::npos);
  CHECK(host.links().size() == 1);  // the tap did not wait
  CHECK(host.disk_exists(uid, "root"));
  const auto loop = node(uid).cow;
  host.hold_loop(loop, true);
  host.open_node(uid, false);
  for (int i = 0; i < 4; ++i) round();
  CHECK(message("Ready").find(loop + " over ") != std::string::npos);
  CHECK(host.disk_exists(uid, "root"));
  host.hold_loop(loop, false);
  settle();
  CHECK(host.leftovers().empty());
  CHECK_FALSE(exists(vm_key()));
}

TEST_CASE_FIXTURE(SnapshotWorld, "half-made devices are made whole by a start and removed by a delete") {
  const auto uid = running_vm();
  stop();
  host.half_create(uid);
  start();
  CHECK(condition("Ready") == "True Ready");
  CHECK(node(uid).live);
  stop();
  host.half_create(uid);
  remove(vm_key());
  settle();
  CHECK(host.leftovers().empty());
}

TEST_CASE_FIXTURE(SnapshotWorld,
                  "a host without free loops or device-mapper is said, leaves nothing half-made, and heals by itself") {
  const auto uid = running_vm();
  stop();
  for (const bool mapper : {false, true}) {
    CAPTURE(mapper);
    if (mapper) host.set_free_loops(1);
    host.set_device_mapper(mapper);
    edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Running; });
    for (int i = 0; i < 10; ++i) round();
    CHECK(condition("Ready") == "False StepFailed");
    CHECK(message("Ready").find(mapper ? "there is no free loop device" : "there is no device-mapper") != std::string::npos);
    CHECK(host.nodes().empty());
    CHECK(host.loops().empty());
    host.set_device_mapper(true);
    host.set_free_loops(std::nullopt);
    settle();
    CHECK(condition("Ready") == "True Ready");
    stop();
  }
  CHECK(host.disk_exists(uid, "root"));
}

TEST_CASE_FIXTURE(SnapshotWorld, "a device of its name under a VM whose root disk is a copy is no reason to restart it") {
  create_builtins();
  create_image();
  settle();
  auto object = vm_object("web");
  std::get<api::VirtualMachine>(object.body).spec.root_disk.backend = api::DiskBackend::Copy;
  const auto uid = create(std::move(object)).meta.uid;
  host.half_create(uid);
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(host.observe_vm(uid, 1)->sidecar->launches == 1);
  CHECK(host.observe_vm(uid, 1)->sidecar->root_backend == "copy");
  CHECK(host.observe_vm(uid, 1)->sidecar->dm_name.empty());
}

TEST_CASE("auto takes a copy where there is no device-mapper, and says why") {
  World world;
  world.running_vm();
  const auto disks = world.status().disks;
  const auto root = std::ranges::find(disks, "root", &api::DiskStatus::name);
  REQUIRE(root != disks.end());
  CHECK(root->backend == "copy");
  CHECK(root->backend_reason.find("no device-mapper") != std::string::npos);
  CHECK_FALSE(root->cow_size);
  CHECK(world.host.nodes().empty());
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
