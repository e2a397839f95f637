// SPDX-License-Identifier: Apache-2.0
#include "actuators/sim/sim_host.hpp"

#include <doctest/doctest.h>

namespace banger::actuators::sim {
namespace {

constexpr const char* kVm = "11111111-1111-4111-8111-111111111111";
constexpr const char* kOther = "22222222-2222-4222-8222-222222222222";
constexpr const char* kNetwork = "33333333-3333-4333-8333-333333333333";
constexpr const char* kImage = "44444444-4444-4444-8444-444444444444";

struct Fixture {
  ManualClock clock;
  Layout layout{.state_dir = "/var/lib/banger", .run_dir = "/run/banger"};
  SimHost host{layout, clock};

  Applied must(const Step& step) {
    auto applied = host.apply(step);
    REQUIRE_MESSAGE(applied.has_value(), (applied ? std::string() : applied.error().message));
    return *applied;
  }
  VmView view() { return *host.observe_vm(kVm, 1); }
  JobView job(const std::string& name) {
    for (const auto& job : view().jobs) {
      if (job.key.name == name) return job;
    }
    FAIL("no such job");
    return {};
  }

  void launch() {
    host.add_file("/boot/vmlinuz", mib(8), 1);
    host.add_file("/boot/initrd", mib(8), 1);
    host.add_file("/base", mib(64), 1);
    must(MakeVmDirectory{.vm_uid = kVm, .addresses = {}});
    must(StartJob{.key = {kVm, "root-disk"}, .spec = MakeRootDisk{.vm_uid = kVm, .base_path = "/base", .size = mib(100)}});
    must(WriteVmInitrd{.vm_uid = kVm, .base_initrd = "/boot/initrd", .config = {}});
    must(MakeBridge{.network_uid = kNetwork, .name = "br", .address = "10.1.2.1/24"});
    must(MakeTap{.vm_uid = kVm, .name = tap_name(kVm, 0), .bridge = "br"});
    must(launch_step());
  }
  LaunchVmm launch_step() const {
    return {.vm_uid = kVm,
            .vm_name = "web",
            .cpus = 1,
            .memory = mib(256),
            .kernel_path = "/boot/vmlinuz",
            .initrd_path = vm_initrd_path(layout, kVm).string(),
            .kernel_args = {},
            .disks = {{.name = "root", .path = root_disk_path(layout, kVm).string()}},
            .nics = {{.tap = tap_name(kVm, 0), .mac = mac_of(kVm, 0)}}};
  }
};

TEST_CASE_FIXTURE(Fixture, "every step answers Changed once and Unchanged when its post-condition holds") {
  launch();
  const auto before = host.mutations();
  CHECK(must(MakeVmDirectory{.vm_uid = kVm, .addresses = {}}) == Applied::Unchanged);
  CHECK(must(WriteVmInitrd{.vm_uid = kVm, .base_initrd = "/boot/initrd", .config = {}}) == Applied::Unchanged);
  CHECK(must(MakeBridge{.network_uid = kNetwork, .name = "br", .address = "10.1.2.1/24"}) == Applied::Unchanged);
  CHECK(must(MakeTap{.vm_uid = kVm, .name = tap_name(kVm, 0), .bridge = "br"}) == Applied::Unchanged);
  CHECK(must(RemoveLink{.owner_uid = kVm, .name = "absent"}) == Applied::Unchanged);
  CHECK(must(RemoveNat{.network_uid = kNetwork, .table = nat_table_name(kNetwork)}) == Applied::Unchanged);
  CHECK(host.mutations() == before);
}

TEST_CASE_FIXTURE(Fixture, "a launched VMM shows as verified, in a populated cgroup, with its monitor running") {
  launch();
  const auto seen = view();
  CHECK(seen.vmm.cgroup_populated);
  REQUIRE(seen.vmm.vmm);
  CHECK(seen.vmm.vmm->in_cgroup);
  CHECK(seen.vmm.monitor == MonitorState::Running);
  CHECK(host.observe_all({})->vms.at(kVm)->vmm.monitor == MonitorState::NotAsked);
  CHECK(host.vmm_count(kVm) == 1);
}

TEST_CASE_FIXTURE(Fixture, "a guest that waits at a write goes on when it is resumed and there is room, and runs on otherwise") {
  launch();
  CHECK(must(ResumeVmm{kVm}) == Applied::Unchanged);
  host.set_space(SpaceLevel::Full);
  host.set_monitor(kVm, MonitorState::IoError);
  CHECK(must(ResumeVmm{kVm}) == Applied::Changed);
  CHECK(view().vmm.monitor == MonitorState::IoError);
  CHECK(view().space == SpaceLevel::Full);
  host.set_space(SpaceLevel::Low);
  CHECK(must(ResumeVmm{kVm}) == Applied::Changed);
  CHECK(view().vmm.monitor == MonitorState::Running);
}

TEST_CASE_FIXTURE(Fixture, "nothing is torn down under a living VMM") {
  launch();
  for (const Step& step : {Step(RemoveVmDirectory{kVm}), Step(RemoveCgroup{kVm}), Step(ClearRunDirectory{kVm}),
                           Step(SyncDisks{kVm}), Step(launch_step())}) {
    const auto applied = host.apply(step);
    REQUIRE_FALSE(applied.has_value());
    CHECK(applied.error().code == ErrorCode::Busy);
  }
  CHECK_FALSE(host.apply(RemoveLink{.owner_uid = kVm, .name = tap_name(kVm, 0)}).has_value());
}

TEST_CASE_FIXTURE(Fixture, "a tap goes a moment after the step that says so, by this daemon or not at all") {
  launch();
  must(KillVmm{kVm});
  const RemoveLink remove{.owner_uid = kVm, .name = tap_name(kVm, 0)};
  const MakeTap make{.vm_uid = kVm, .name = tap_name(kVm, 0), .bridge = "br"};
  CHECK(must(remove) == Applied::Changed);
  CHECK(must(remove) == Applied::Unchanged);
  CHECK(host.apply(make).error().code == ErrorCode::Busy);
  REQUIRE(view().links.size() == 1);  // a look; it is gone after that
  CHECK(view().links.empty());
  CHECK(must(make) == Applied::Changed);

  CHECK(must(remove) == Applied::Changed);
  host.restart_daemon();
  for (int i = 0; i < 3; ++i) REQUIRE(view().links.size() == 1);
  CHECK_FALSE(view().links.front().leaving);

  const Error error{.code = ErrorCode::Unavailable, .message = "no memory", .sys_errno = 12};
  host.fail_next("ReapTap", error, FaultPoint::BeforeEffect);
  CHECK(must(remove) == Applied::Changed);
  CHECK(view().links.front().leaving);
  CHECK_FALSE(view().links.front().leaving);
  CHECK(host.apply(remove).error() == error);
  CHECK(must(remove) == Applied::Changed);
  host.hold_links(true);
  for (int i = 0; i < 3; ++i) CHECK(view().links.front().leaving);
  host.hold_links(false);
  CHECK(must(RemoveLink{.owner_uid = kNetwork, .name = "br"}) == Applied::Changed);  // a bridge waits for its taps
  CHECK(host.links().empty());
}

TEST_CASE_FIXTURE(Fixture, "a stranger in a VM's group keeps it, and nothing is started beside him") {
  launch();
  must(KillVmm{kVm});
  CHECK_FALSE(is_foreign_group(view().vmm));
  host.add_stranger(kVm, {.pid = 50, .exe = "/usr/bin/sleep"});
  CHECK(is_foreign_group(view().vmm));
  CHECK(host.apply(RemoveCgroup{kVm}).error().code == ErrorCode::Busy);
  CHECK(host.apply(launch_step()).error().code == ErrorCode::Busy);
  CHECK_FALSE(host.apply(KillVmm{kVm}).has_value());
  CHECK(view().vmm.processes.size() == 1);
  host.remove_strays(kVm);
  must(launch_step());
  host.add_stranger(kVm, {.pid = 51, .exe = "/usr/bin/sleep"});
  CHECK_FALSE(is_foreign_group(view().vmm));  // beside a VMM he is in our group
  must(KillVmm{kVm});
  CHECK_FALSE(view().vmm.cgroup_populated);
}

TEST_CASE_FIXTURE(Fixture, "a held kill leaves the VMM until it is reaped") {
  launch();
  host.hold_kills(true);
  CHECK(must(KillVmm{kVm}) == Applied::Changed);
  CHECK(view().vmm.cgroup_populated);
  CHECK(must(KillVmm{kVm}) == Applied::Unchanged);
  host.reap();
  CHECK_FALSE(view().vmm.cgroup_populated);
  REQUIRE(view().vmm.exit);
  CHECK(view().vmm.exit->reason == "Killed");
  CHECK(must(ClearRunDirectory{kVm}) == Applied::Changed);
  CHECK_FALSE(view().vmm.exit);
}

TEST_CASE_FIXTURE(Fixture, "foreign links and tables answer Conflict and stay as they are") {
  host.add_link({.name = tap_name(kVm, 0), .kind = "tun", .alias = ""});
  host.add_link({.name = "br", .kind = "bridge", .alias = label_text({.uid = kOther})});
  host.add_nat({.table = nat_table_name(kNetwork), .comment = "mine"});
  const auto links = host.links();
  for (const Step& step :
       {Step(MakeTap{.vm_uid = kVm, .name = tap_name(kVm, 0), .bridge = "br"}),
        Step(RemoveLink{.owner_uid = kVm, .name = tap_name(kVm, 0)}),
        Step(MakeBridge{.network_uid = kNetwork, .name = "br", .address = "10.1.2.1/24"}),
        Step(WriteNat{.network_uid = kNetwork, .table = nat_table_name(kNetwork), .bridge = "br", .cidr = "10.1.2.0/24"}),
        Step(RemoveNat{.network_uid = kNetwork, .table = nat_table_name(kNetwork)})}) {
    const auto applied = host.apply(step);
    REQUIRE_FALSE(applied.has_value());
    CHECK(applied.error().code == ErrorCode::Conflict);
    CHECK(applied.error().message.starts_with("NameConflict: "));
  }
  CHECK(host.links() == links);
  REQUIRE(view().links.size() == 1);  // shown, because it bears the VM's tap name
}

TEST_CASE_FIXTURE(Fixture, "a fault before the effect leaves nothing, one after the effect leaves all") {
  const Error error{.code = ErrorCode::Unavailable, .message = "no space", .sys_errno = 28};
  host.fail_next("MakeVmDirectory", error, FaultPoint::BeforeEffect);
  CHECK(host.apply(MakeVmDirectory{.vm_uid = kVm, .addresses = {}}).error() == error);
  CHECK_FALSE(view().directory_exists);
  host.fail_next("MakeVmDirectory", error, FaultPoint::AfterEffect);
  CHECK(host.apply(MakeVmDirectory{.vm_uid = kVm, .addresses = {}}).error() == error);
  CHECK(view().directory_exists);
  CHECK(must(MakeVmDirectory{.vm_uid = kVm, .addresses = {}}) == Applied::Unchanged);
}

TEST_CASE_FIXTURE(Fixture, "a crash is thrown after the effect of the step it stands at") {
  host.crash_after(1);
  must(MakeVmDirectory{.vm_uid = kVm, .addresses = {}});
  CHECK_THROWS_AS((void)host.apply(MakeBridge{.network_uid = kNetwork, .name = "br", .address = "10.1.2.1/24"}), SimCrash);
  CHECK(host.links().size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "jobs end at once, or when they are released, and hint their owner") {
  std::vector<std::string> hints;
  host.on_hint([&](const std::string& uid) { hints.push_back(uid); });
  host.add_file("/srv/demo.tar", mib(10), 7);
  must(StartJob{.key = {kImage, "build"}, .spec = BuildImage{.image_uid = kImage, .spec = {.path = "/srv/demo.tar"}}});
  const auto image = *host.observe_image({.uid = kImage, .source_path = "/srv/demo.tar"});
  REQUIRE(image.jobs.size() == 1);
  CHECK(image.jobs[0].state == JobState::Done);
  CHECK(image.built.size() == 1);
  CHECK(hints == std::vector<std::string>{kImage});

  launch();
  hints.clear();
  host.hold_jobs("probe");
  const StartJob probe{.key = {kVm, "probe"}, .spec = ProbeSsh{.target = {.address = "10.1.2.3", .user = "root", .vm_uid = kVm}}};
  CHECK(must(probe) == Applied::Changed);
  CHECK(must(probe) == Applied::Unchanged);
  CHECK(job("probe").state == JobState::Running);
  CHECK(hints.empty());
  host.release_jobs("probe");
  CHECK(job("probe").state == JobState::Done);
  CHECK(hints == std::vector<std::string>{kVm});
}

TEST_CASE_FIXTURE(Fixture, "an unreachable guest fails its probe and its sync; a failed job may be started again") {
  launch();
  host.set_guest_reachable(kVm, false);
  const SshTarget target{.address = "10.1.2.3", .user = "root", .vm_uid = kVm};
  const StartJob sync{.key = {kVm, "sync"}, .spec = SyncGuest{.target = target, .nonce = "abcd"}};
  must(sync);
  REQUIRE(job("sync").error);
  CHECK(job("sync").error->code == ErrorCode::Unavailable);
  host.set_guest_reachable(kVm, true);
  CHECK(must(sync) == Applied::Changed);
  CHECK(job("sync").result == "abcd");
}

TEST_CASE_FIXTURE(Fixture, "a reboot of the host leaves files and takes the rest") {
  launch();
  const auto boot = view().boot_id;
  host.reboot_host();
  const auto seen = view();
  CHECK(seen.boot_id != boot);
  CHECK(seen.directory_exists);
  CHECK(seen.disks.size() == 1);
  CHECK(seen.links.empty());
  CHECK_FALSE(seen.vmm.cgroup_exists);
  CHECK_FALSE(seen.run_directory_exists);
  CHECK(seen.jobs.empty());
}

}  // namespace
}  // namespace banger::actuators::sim
