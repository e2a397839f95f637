// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/reconciler.hpp"

#include <fmt/format.h>

#include "base/text.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::sim::SyncAnswer;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST_CASE_FIXTURE(World, "a VM comes to Ready, with an address, disks, a tap and every step timed") {
  const auto uid = running_vm();
  const auto seen = status();
  CHECK(seen.phase == "Running");
  CHECK(condition("Running") == "True Running");
  CHECK(host.vmm_count(uid) == 1);
  REQUIRE(seen.network_interfaces.size() == 1);
  CHECK(seen.network_interfaces[0].address.starts_with("10.63.0."));
  CHECK(seen.network_interfaces[0].address.ends_with("/24"));
  CHECK(seen.network_interfaces[0].gateway == "10.63.0.1");
  REQUIRE(seen.vmm);
  CHECK(seen.vmm->accelerator == "tcg");
  REQUIRE(seen.ssh);
  CHECK(seen.ssh->identity_file == "/var/lib/banger/ssh/id_ed25519");
  CHECK(seen.ssh->known_hosts_file == "/var/lib/banger/vms/" + uid + "/known_hosts");
  CHECK(seen.disks.size() == 2);
  CHECK(leases() == 1);
  std::vector<std::string> names;
  for (const auto& each : seen.steps) {
    CHECK_MESSAGE(each.state == "Done", each.name);
    names.push_back(each.name);
  }
  CAPTURE(join(names, " "));
  CHECK(names == std::vector<std::string>{"Directory", "Object", "Sidecar", "RootDisk", "Disk/data", "Initrd", "Tap/0", "Record",
                                          "Launch", "Process", "GuestReady"});
  CHECK(events.count("Started") == 1);
  CHECK(events.count("Ready") >= 1);
  const auto launch = host.launched(uid);
  REQUIRE(launch);
  CHECK(launch->disks.size() == 2);
  CHECK(launch->memory == mib(256));
}

TEST_CASE_FIXTURE(World, "at rest nothing is written and nothing is mutated, and a new daemon keeps it so") {
  running_vm();
  const auto revision = store->revision();
  const auto mutations = host.mutations();
  for (int i = 0; i < 5; ++i) {
    clock.advance(seconds(30));
    CHECK(round());
  }
  restart();
  CHECK(round());
  CHECK(store->revision() == revision);
  CHECK(host.mutations() == mutations);
}

TEST_CASE_FIXTURE(World, "a daemon restart that loses its jobs leaves the VM Ready all the time") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.restart_daemon();
  restart();
  host.hold_jobs("probe");
  pass(vm_key());
  CHECK(condition("Ready") == "True Ready");
  host.release_jobs("probe");
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid == pid);
  CHECK(host.vmm_count(uid) == 1);
}

TEST_CASE_FIXTURE(World, "what a VM waits for is named") {
  create_vm();
  settle();
  CHECK(status().phase == "Pending");
  CHECK(condition("Ready") == "False ImageNotFound");
  CHECK(message("Ready") == "the Image \"demo\" does not exist");
  CHECK(host.leftovers().size() == 1);  // its directory, with the object on record
  create_image("demo", "/srv/absent.tar");
  settle();
  CHECK(condition("Ready") == "False ImageNotReady");
  CHECK(message("Ready").find("/srv/absent.tar") != std::string::npos);
  host.add_file("/srv/absent.tar", mib(1), 1);
  clock.advance(seconds(31));
  settle();
  CHECK(condition("Ready") == "False KernelNotFound");
  create_builtins();
  settle();
  CHECK(condition("Ready") == "True Ready");
}

TEST_CASE_FIXTURE(World, "a label edit changes nothing; a memory edit waits, is announced, and is carried out by a restart") {
  const auto uid = running_vm();
  host.clear_log();
  const auto only_on_record = [&] {
    return std::ranges::all_of(host.log(), [](const auto& line) { return line.starts_with("WriteSidecar "); });
  };
  edit_vm([](auto&, auto& meta) { meta.labels["tier"] = "front"; });
  settle();
  CHECK(host.log().size() == 1);
  CHECK(only_on_record());
  CHECK(status().pending_changes.empty());

  const auto pid = status().vmm->pid;
  edit_vm([](auto& spec, auto&) { spec.memory = mib(512); });
  settle();
  CHECK(host.log().size() == 2);
  CHECK(only_on_record());
  CHECK(status().vmm->pid == pid);
  CHECK(condition("RestartRequired") == "True PendingChanges");
  CHECK(message("RestartRequired") == "memory 256Mi → 512Mi waits for a restart: bangerctl restart web");
  REQUIRE(status().pending_changes.size() == 1);
  CHECK(status().pending_changes[0].field == "spec.memory");

  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(status().vmm->pid != pid);
  CHECK(host.launched(uid)->memory == mib(512));
  CHECK(condition("RestartRequired") == "absent");
  CHECK(condition("CleanShutdown") == "True Synced");
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().restart_count == 0);
  CHECK_FALSE(status().last_termination);
}

TEST_CASE_FIXTURE(World, "an edit of the image is never carried out silently") {
  create_image("other");
  const auto uid = running_vm();
  edit_vm([](auto& spec, auto&) {
    spec.image = "other";
    spec.restart_nonce = "1";
  });
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(condition("RecreateRequired") == "True PendingChanges");
  CHECK(message("RecreateRequired").find("image demo → other") != std::string::npos);
  CHECK(host.disk_exists(uid, "root"));
}

TEST_CASE_FIXTURE(World, "a stop syncs the guest, leaves the disks, and a start brings the same VM back") {
  const auto uid = running_vm();
  const auto address = status().network_interfaces[0].address;
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(status().phase == "Stopped");
  CHECK(condition("CleanShutdown") == "True Synced");
  CHECK(condition("Running") == "False Stopped");
  CHECK_FALSE(status().vmm);
  CHECK(host.vmm_count(uid) == 0);
  CHECK(host.leftovers() == std::vector<std::string>{"directory of " + uid, "disk data of " + uid, "disk root of " + uid});
  CHECK(events.count("Stopped") == 1);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Running; });
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().network_interfaces[0].address == address);
  CHECK(status().restart_count == 0);
}

TEST_CASE_FIXTURE(World, "kernel objects are told as they are, beside what should be: running, stopped, and taken away") {
  const auto uid = running_vm();
  const auto told = [&] {
    std::vector<std::string> rows;
    for (const auto& each : status().kernel_objects) {
      const auto name = each.type == "process" ? "" : " " + each.name;
      rows.push_back(fmt::format("{}{}: {}, {}", each.type, name, each.desired, each.observed));
    }
    return rows;
  };
  const auto tap = actuators::tap_name(uid, 0);
  const auto directory = "/var/lib/banger/vms/" + uid;
  const auto rows = [&](std::string_view desired, std::string_view observed, bool shim) {
    std::vector<std::string> all{fmt::format("process: {}, {}", desired, observed)};
    if (shim) all.push_back(fmt::format("process: {}, {}", desired, observed));
    all.push_back(fmt::format("cgroup banger.slice/vm-{}: {}, {}", uid, desired, observed));
    all.push_back(fmt::format("tap {}: {}, {}", tap, desired, observed));
    all.push_back(fmt::format("file {}/disk-data.img: present, present", directory));
    all.push_back(fmt::format("file {}/root.img: present, present", directory));
    return all;
  };
  const bool shim = std::ranges::count(status().kernel_objects, "process", &api::KernelObjectStatus::type) == 2;
  CHECK(told() == rows("present", "present", shim));
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(told() == rows("absent", "absent", false));
  const actuators::LinkView foreign{.name = tap, .index = 5, .kind = "tun", .alias = "mine"};
  host.add_link(foreign);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Running; });
  settle();
  CHECK(std::ranges::count(told(), fmt::format("tap {}: present, foreign", tap)) == 1);
}

TEST_CASE_FIXTURE(World, "an unreachable guest is ended and the condition says so") {
  const auto uid = running_vm();
  host.set_guest_reachable(uid, false);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(status().phase == "Stopped");
  CHECK(condition("CleanShutdown") == "False GuestUnreachable");
  CHECK(events.count("GuestUnreachable") == 1);
}

TEST_CASE_FIXTURE(World, "a sync that echoes another nonce is no sync") {
  const auto uid = running_vm();
  host.set_sync_answer(uid, SyncAnswer::WrongNonce);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(condition("CleanShutdown") == "False SyncNotConfirmed");
}

TEST_CASE_FIXTURE(World, "without ssh a VM is Ready when it runs, and its stop cannot sync") {
  create_builtins();
  create_image();
  auto object = vm_object("web");
  std::get<api::VirtualMachine>(object.body).spec.ssh.reset();
  create(std::move(object));
  settle();
  CHECK(condition("Ready") == "True Ready");
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(condition("CleanShutdown") == "False NoSsh");
}

TEST_CASE_FIXTURE(World, "a guest that never answers stays running and not ready, and its stop does not wait for it") {
  create_builtins();
  create_image();
  const auto uid = create_vm();
  for (int i = 0; i < 12; ++i) {
    round();
    host.set_guest_reachable(uid, false);
  }
  CHECK(status().phase == "Starting");
  CHECK(condition("Ready") == "False WaitingForSsh");
  CHECK(condition("Running") == "True Running");
  clock.advance(minutes(6));
  round();
  CHECK(status().phase == "Running");
  CHECK(condition("Ready") == "False WaitingForSsh");
  CHECK(host.vmm_count(uid) == 1);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(condition("CleanShutdown") == "False GuestUnreachable");  // it was asked: a probe's failure is not for ever
}

TEST_CASE_FIXTURE(World, "a guest that has not booted yet is not asked to sync") {
  create_builtins();
  create_image();
  const auto uid = create_vm();
  for (int i = 0; i < 12; ++i) {
    round();
    host.set_guest_reachable(uid, false);
  }
  CHECK(condition("Ready") == "False WaitingForSsh");
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(condition("CleanShutdown") == "False NotReady");
}

TEST_CASE_FIXTURE(World, "nothing is torn down before a killed VMM was seen to be gone") {
  const auto uid = running_vm();
  host.hold_kills(true);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  for (int i = 0; i < 10; ++i) round();
  CHECK(status().phase == "Stopping");
  CHECK(condition("CleanShutdown") == "True Synced");
  CHECK(host.vmm_count(uid) == 1);
  CHECK(host.links().size() == 2);  // bridge and tap
  host.hold_kills(false);
  host.reap();
  settle();
  CHECK(status().phase == "Stopped");
}

TEST_CASE_FIXTURE(World, "a VM that a power cut ended is not called clean for what an earlier stop was") {
  running_vm();
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(condition("CleanShutdown") == "True Synced");
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Running; });
  settle();
  host.reboot_host();
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(status().phase == "Stopped");
  CHECK(condition("CleanShutdown") == "False SyncNotConfirmed");
}

TEST_CASE_FIXTURE(World, "a clock that is set back by a year does not make a backoff a year long") {
  const auto uid = running_vm();
  for (int i = 0; i < 2; ++i) {
    host.exit_vmm(uid, {.reason = "Crashed", .message = ""});
    for (int k = 0; k < 8; ++k) pass(vm_key());
  }
  CHECK(condition("Ready") == "False BackOff");
  clock.jump_wall(-std::chrono::hours(24 * 365));
  settle();
  CHECK(condition("Ready") == "True Ready");
}

TEST_CASE_FIXTURE(World, "a killed VMM is started again at once; one that keeps dying waits longer each time") {
  const auto uid = running_vm();
  std::vector<std::int64_t> waits;
  for (int i = 0; i < 12; ++i) {
    host.exit_vmm(uid, {.reason = "Crashed", .signal = 11, .message = "boom"});
    pass(vm_key());  // sees the end
    const auto after = status().restart_after;
    waits.push_back(after ? (*after - clock.wall()).count() : 0);
    if (after) {
      pass(vm_key());
      CHECK(condition("Ready") == "False BackOff");
      clock.advance(milliseconds(waits.back() - 1));
      pass(vm_key());
      CHECK(host.vmm_count(uid) == 0);
      clock.advance(milliseconds(1));
    }
    for (int k = 0; k < 8; ++k) pass(vm_key());
    CHECK(host.vmm_count(uid) == 1);
  }
  CHECK(waits == std::vector<std::int64_t>{0, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000});
  settle();
  CHECK(status().restart_count == 12);
  REQUIRE(status().last_termination);
  CHECK(status().last_termination->reason == "Crashed");
  CHECK(status().last_termination->signal == 11);
  clock.advance(minutes(11));
  host.exit_vmm(uid, {.reason = "Crashed", .message = ""});
  pass(vm_key());
  CHECK_FALSE(status().restart_after);
}

TEST_CASE_FIXTURE(World, "how a VM ended and its policy decide whether it starts again") {
  const auto uid = running_vm();
  const auto end = [&](api::RestartPolicy policy, const std::string& reason) {
    edit_vm([&](auto& spec, auto&) { spec.restart_policy = policy; });
    clock.advance(minutes(20));
    settle();
    host.exit_vmm(uid, {.reason = reason, .message = ""});
    settle();
    const auto phase = status().phase;
    edit_vm([&](auto& spec, auto&) { spec.restart_nonce += "x"; });  // up again for the next
    settle();
    CHECK(condition("Ready") == "True Ready");
    return phase;
  };
  using enum api::RestartPolicy;
  CHECK(end(Always, "GuestReboot") == "Running");
  CHECK(end(Always, "GuestShutdown") == "Running");
  CHECK(end(Always, "Crashed") == "Running");
  CHECK(end(OnFailure, "GuestReboot") == "Running");
  CHECK(end(OnFailure, "GuestShutdown") == "Stopped");
  CHECK(end(OnFailure, "Killed") == "Running");
  CHECK(end(Never, "GuestReboot") == "Running");
  CHECK(end(Never, "GuestShutdown") == "Stopped");
  CHECK(end(Never, "Crashed") == "Failed");
}

TEST_CASE_FIXTURE(World, "an internal error of the VMM counts as a crash") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.set_monitor(uid, actuators::MonitorState::InternalError);
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid != pid);
  CHECK(status().restart_count == 1);
  REQUIRE(status().last_termination);
  CHECK(status().last_termination->reason == "InternalError");
  CHECK(events.count("InternalError") == 1);
}

TEST_CASE_FIXTURE(World, "a guest that waits at a write to a full disk is left alone, and goes on by itself once there is room") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.set_space(actuators::SpaceLevel::Full);
  host.set_monitor(uid, actuators::MonitorState::IoError);
  for (int i = 0; i < 20; ++i) {
    pass(vm_key());
    clock.advance(seconds(10));
  }
  CHECK(condition("Ready") == "False DiskFull");
  CHECK(condition("HostDiskFull") == "True GuestWaits");
  CHECK(message("Ready").find("/var/lib/banger") != std::string::npos);
  CHECK(events.count("DiskFull") == 1);
  CHECK(status().vmm->pid == pid);
  CHECK(status().restart_count == 0);
  host.remove_link(actuators::tap_name(uid, 0));  // a restart would cure that, and lose what the guest has not written
  for (int i = 0; i < 5; ++i) pass(vm_key());
  CHECK(status().vmm->pid == pid);
  CHECK(condition("NetworkLost") == "True TapGone");
}

TEST_CASE_FIXTURE(World, "a guest that waited at a write is asked whether it answers before it is called ready") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.set_space(actuators::SpaceLevel::Full);
  host.set_monitor(uid, actuators::MonitorState::IoError);
  for (int i = 0; i < 5; ++i) pass(vm_key());
  host.hold_jobs("probe");
  host.set_space(actuators::SpaceLevel::Plenty);
  for (int i = 0; i < 5; ++i) pass(vm_key());
  CHECK(condition("Ready") == "False WaitingForSsh");
  CHECK(condition("HostDiskFull") == "absent");
  host.release_jobs("probe");
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid == pid);
  CHECK(status().restart_count == 0);
}

TEST_CASE_FIXTURE(World, "a tap deleted under a running VMM costs a restart, and says why") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.remove_link(actuators::tap_name(uid, 0));
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid != pid);
  CHECK(events.count("NetworkLost") == 1);
  CHECK(status().restart_count == 1);
}

TEST_CASE_FIXTURE(World, "a foreign tap of our name is left as it is") {
  create_builtins();
  create_image();
  settle();
  const auto uid = create_vm();
  const actuators::LinkView foreign{.name = actuators::tap_name(uid, 0), .index = 5, .kind = "tun", .alias = "mine"};
  host.add_link(foreign);
  settle();
  CHECK(condition("NameConflict") == "True ForeignObject");
  CHECK(condition("Ready") == "False NameConflict");
  CHECK(std::ranges::count(host.links(), foreign) == 1);
  CHECK(pass(vm_key()).requeue_after == seconds(30));
  host.remove_link(foreign.name);
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(condition("NameConflict") == "absent");
}

TEST_CASE_FIXTURE(World, "a lost or unreadable sidecar of a running VM is written again") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.lose_sidecar(uid);
  settle();
  host.spoil_sidecar(uid, "not JSON");
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid == pid);
  CHECK(host.observe_vm(uid, 1)->sidecar);
  CHECK(host.observe_vm(uid, 1)->sidecar_error.empty());
}

TEST_CASE_FIXTURE(World, "a directory removed under its living VMM is made again, the loss is said, and a stop ends the VMM") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  host.lose_directory(uid);
  settle();
  CHECK(host.observe_vm(uid, 1)->sidecar);
  CHECK(status().vmm->pid == pid);
  CHECK(events.count("SidecarLost") == 1);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(status().phase == "Stopped");
  CHECK(host.vmm_count(uid) == 0);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Running; });
  settle();
  CHECK(condition("Ready") == "False DataLost");  // nothing is made anew in its place
  CHECK_FALSE(host.disk_exists(uid, "root"));
}

TEST_CASE_FIXTURE(World, "a stop that meets a lost sidecar still asks the guest to sync") {
  const auto uid = running_vm();
  host.lose_sidecar(uid);
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  CHECK(status().phase == "Stopped");
  CHECK(condition("CleanShutdown") == "True Synced");
}

TEST_CASE_FIXTURE(World, "a host reboot brings everything back, and says how the VM ended") {
  const auto uid = running_vm();
  host.reboot_host();
  restart();
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(host.vmm_count(uid) == 1);
  REQUIRE(status().last_termination);
  CHECK(status().last_termination->reason == "Unknown");
  CHECK(status().last_termination->message == "the host was restarted");
}

TEST_CASE_FIXTURE(World, "a resync of two hundred VMs at rest finds nothing to do, in little time") {
  create_builtins();
  create_image();
  for (int i = 0; i < 200; ++i) create_vm(fmt::format("vm{}", i));
  settle();
  const auto view = *host.observe_all({});
  const auto start = std::chrono::steady_clock::now();
  for (auto& reconciler : reconcilers) CHECK(reconciler->drifted(view).empty());
  const auto took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  MESSAGE("200 VMs planned in " << took << " ms");
}

TEST_CASE_FIXTURE(World, "another VMM that names our socket stops every start until it is gone") {
  create_builtins();
  create_image();
  settle();
  const auto uid = create_vm();
  host.add_stray(uid, {.pid = 4242, .exe = "/usr/bin/qemu-system-x86_64", .names_socket = true});
  settle();
  CHECK(host.vmm_count(uid) == 0);
  CHECK(condition("StrayProcess") == "True StrayProcess");
  CHECK(message("StrayProcess").find("4242") != std::string::npos);
  host.remove_strays(uid);
  settle();
  CHECK(condition("Ready") == "True Ready");
}

TEST_CASE_FIXTURE(World, "a stranger in a group of our name is never ended, and a start, a stop and a delete wait for him") {
  const auto uid = running_vm();
  const actuators::ProcessView sleep{.pid = 4242, .exe = "/usr/bin/sleep"};
  const auto waits = [&] {
    settle();
    CHECK(host.observe_vm(uid, 1)->vmm.processes.size() == 1);
    CHECK(condition("NameConflict") == "True ForeignObject");
    CHECK(message("NameConflict").find("/usr/bin/sleep (pid 4242)") != std::string::npos);
    CHECK(message("NameConflict").find(actuators::cgroup_name(uid)) != std::string::npos);
    CHECK(condition("Running").starts_with("False"));
    const auto rows = status().kernel_objects;
    const auto group = std::ranges::find(rows, "cgroup", &api::KernelObjectStatus::type);
    REQUIRE(group != rows.end());
    CHECK(group->observed == "foreign");
  };
  host.exit_vmm(uid, {.reason = "Crashed", .message = ""});
  host.add_stranger(uid, sleep);
  waits();
  CHECK(condition("Ready") == "False NameConflict");
  host.lose_sidecar(uid);
  waits();
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  waits();
  CHECK(message("Ready").find("is not ours to empty") != std::string::npos);
  remove(vm_key());
  waits();
  CHECK(status().phase == "Deleting");
  CHECK(host.disk_exists(uid, "root"));
  host.remove_strays(uid);
  clock.advance(seconds(6));
  settle();
  CHECK_FALSE(exists(vm_key()));
  CHECK(host.leftovers().empty());
}

TEST_CASE_FIXTURE(World, "what a Kernel or a Network says otherwise waits for a restart and is announced") {
  const auto uid = running_vm();
  CHECK(condition("RestartRequired") == "absent");
  host.add_host_kernel({.version = "6.1.0-2-amd64", .path = "/boot/vmlinuz-6.1.0-2", .modules_dir = "/lib/modules/6.1.0-2"});
  clock.advance(minutes(2));
  settle();
  pass(vm_key());  // woken by the Kernel's status
  CHECK(message("RestartRequired").starts_with("Kernel/host.path /boot/vmlinuz-6.1.0-1 → /boot/vmlinuz-6.1.0-2, "));
  REQUIRE(objects
              .edit(key(api::Kind::Network, "default"),
                    [](api::Object& object) -> Result<void> {
                      std::get<api::Network>(object.body).spec.mtu = 9000;
                      return {};
                    })
              .has_value());
  settle();
  pass(vm_key());
  CHECK(message("RestartRequired").find("Network/default.mtu 1500 → 9000") != std::string::npos);
  CHECK(status().pending_changes.size() == 3);
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(condition("RestartRequired") == "absent");
  CHECK(status().pending_changes.empty());
  CHECK(host.launched(uid)->nics.at(0).mtu == 9000);
}

TEST_CASE_FIXTURE(World, "a VMM that is not the one on record is not adopted, and goes with the next restart") {
  const auto uid = running_vm();
  const auto recorded = [&] { return host.observe_vm(uid, 1)->sidecar->process->pid; };
  const auto first = recorded();
  host.replace_vmm(uid);
  host.restart_daemon();
  restart();
  settle();
  CHECK(condition("Ready") == "Unknown VmmUnverified");
  CHECK(message("Ready").find(fmt::format("not the process on record (pid {},", first)) != std::string::npos);
  CHECK(recorded() == first);
  CHECK(host.vmm_count(uid) == 1);
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(recorded() == status().vmm->pid);
}

TEST_CASE_FIXTURE(World, "a deleted VM leaves nothing, its address included") {
  running_vm();
  remove(vm_key());
  pass(vm_key());
  CHECK(status().phase == "Deleting");
  settle();
  CHECK_FALSE(exists(vm_key()));
  CHECK(host.leftovers().empty());
  CHECK(leases() == 0);
}

TEST_CASE_FIXTURE(World, "a resync names the VMs that drifted, and no others") {
  const auto uid = running_vm("a");
  create_vm("b");
  settle();
  const auto drifted = [&] {
    std::vector<api::ObjectKey> keys;
    const auto view = *host.observe_all({});
    for (auto& reconciler : reconcilers) {
      for (auto& each : reconciler->drifted(view)) keys.push_back(each);
    }
    return keys;
  };
  CHECK(drifted().empty());
  host.remove_link(actuators::tap_name(uid, 0));
  CHECK(drifted() == std::vector{vm_key("a")});
  settle();
  CHECK(drifted().empty());
  host.exit_vmm(uid, {.reason = "Killed", .signal = 9, .message = ""});
  CHECK(drifted() == std::vector{vm_key("a")});
  CHECK(drifted() == std::vector{vm_key("a")});  // until it is mended
  settle();
  CHECK(drifted().empty());
  remove(api::key_of(list_all(objects, api::Kind::AddressLease).front()));
  CHECK(drifted().size() == 1);
  settle();
  CHECK(drifted().empty());
  edit_vm([](api::VirtualMachineSpec& spec, api::ObjectMeta&) { spec.power_state = api::PowerState::Stopped; }, "a");
  CHECK(drifted() == std::vector{vm_key("a")});
}

TEST_CASE_FIXTURE(World, "changes of what a VM refers to wake it, others do not") {
  running_vm("a");
  auto* vms = reconcilers.back().get();
  REQUIRE(vms->kind() == api::Kind::VirtualMachine);
  const auto affected = [&](const api::ObjectKey& changed) {
    return vms->affected_by({.revision = 1, .type = store::ChangeType::Modified, .object = *store->get(changed), .previous = {}});
  };
  CHECK(affected(key(api::Kind::Image, "demo")) == std::vector{vm_key("a")});
  CHECK(affected(key(api::Kind::Kernel, "host")) == std::vector{vm_key("a")});
  CHECK(affected(key(api::Kind::Network, "default")) == std::vector{vm_key("a")});
  create_image("other");
  CHECK(affected(key(api::Kind::Image, "other")).empty());
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
