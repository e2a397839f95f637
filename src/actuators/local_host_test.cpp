// SPDX-License-Identifier: Apache-2.0
// The whole local host in a network namespace of its own, with a program that plays the VMM.
#include "actuators/local_host.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "actuators/block/device_mapper.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/launch.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using vmm::test::eventually;
using vmm::test::fresh_uid;

namespace {

// Once for the program: everything here happens in a namespace that goes with it.
bool in_own_network() {
  static const bool done = ::geteuid() == 0 && ::unshare(CLONE_NEWNET) == 0;
  if (!done) MESSAGE("skipped: a private network namespace needs root");
  return done;
}

struct HostScene {
  vmm::test::Directory directory;
  LocalHostOptions options{.layout = {directory.path() / "s", directory.path() / "r"},
                           .shim_path = BANGER_SHIM,
                           .qemu_path = BANGER_TEST_VMM,
                           .accelerator = "tcg"};
  SystemClock clock;
  SystemRandom random;
  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::string> hints;
  std::unique_ptr<Host> host = open();

  std::unique_ptr<Host> open() {
    auto made = make_local_host(options, clock, random);
    REQUIRE_MESSAGE(made, made.error().message);
    (*made)->on_hint([this](const std::string& uid) {
      const std::lock_guard lock(mutex);
      hints.insert(uid);
      changed.notify_all();
    });
    return *std::move(made);
  }
  bool hinted(const std::string& uid) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, [&] { return hints.contains(uid); });
  }
  Applied apply(const Step& step) const {
    const auto done = host->apply(step);
    REQUIRE_MESSAGE(done, describe(step), ": ", done.error().message);
    return *done;
  }
  ErrorCode refusal(const Step& step) const {
    const auto done = host->apply(step);
    REQUIRE_FALSE(done);
    return done.error().code;
  }
  [[nodiscard]] VmView view(const std::string& uid) const {
    auto seen = host->observe_vm(uid, 1);
    REQUIRE_MESSAGE(seen, seen.error().message);
    return *std::move(seen);
  }
};

// The VM's group is emptied and removed whatever happens to the test.
struct Vm {
  vmm::test::Group group;
  std::string uid = group.uid;
  Vm() : group(*vmm::find_hierarchy()) {}
};

Sidecar sidecar_of(const std::string& uid) {
  Sidecar out;
  out.uid = uid;
  out.ns = "default";
  out.name = "web";
  out.generation = 3;
  out.launched_spec.image = "demo";
  return out;
}

LaunchVmm launch_of(const HostScene& scene, const std::string& uid) {
  const auto root = root_disk_path(scene.options.layout, uid);
  std::ofstream(root) << "disk";
  return {.vm_uid = uid,
          .vm_name = "web",
          .memory = mib(128),
          .kernel_path = BANGER_TEST_VMM,
          .disks = {{"root", root}},
          .nics = {{tap_name(uid, 0), mac_of(uid, 0)}}};
}

}  // namespace

TEST_CASE("wrong options are refused, a machine that lacks everything is not") {
  SystemClock clock;
  SystemRandom random;
  auto made = make_local_host({.layout = {"relative", "/run/x"}}, clock, random);
  REQUIRE_FALSE(made);
  CHECK(made.error().message == "directory \"relative\": expected an absolute path");
  made = make_local_host({.layout = {"/nonexistent/s", "/nonexistent/r"}, .accelerator = "xen"}, clock, random);
  REQUIRE_FALSE(made);
  CHECK(made.error().message == "accelerator \"xen\": expected auto, kvm or tcg");

  made = make_local_host({.layout = {"/nonexistent/s", "/nonexistent/r"}, .shim_path = "/no/shim", .qemu_path = "/no/qemu"},
                         clock, random);
  REQUIRE(made);
  const auto uid = fresh_uid();
  const auto view = (*made)->observe_vm(uid, 1);
  REQUIRE(view);
  CHECK_FALSE(view->directory_exists);
  CHECK(view->boot_id.size() == 36);
  CHECK_FALSE((*made)->observe_vm("../../etc", 1));
  CHECK_FALSE((*made)->observe_vm(uid, 9));
  const auto launched = (*made)->apply(LaunchVmm{.vm_uid = uid});
  REQUIRE_FALSE(launched);
  CHECK(launched.error().message ==
        "the QEMU /no/qemu that bangerd was started with (--qemu) is not there or is not a program: install the Debian package "
        "qemu-system-x86, or correct the path");
}

TEST_CASE("a VM is made, observed alike by both ways, ended and gone, step by step, each step once") {
  if (!in_own_network()) return;
  HostScene scene;
  const Vm vm;
  const auto network = fresh_uid();
  const auto bridge = bridge_name(network);
  const auto tap = tap_name(vm.uid, 0);

  CHECK(scene.refusal(WriteSidecar{sidecar_of(vm.uid)}) == ErrorCode::NotFound);
  for (const auto expected : {Applied::Changed, Applied::Unchanged}) {
    CHECK(scene.apply(MakeVmDirectory{vm.uid, {"10.9.1.2"}}) == expected);
    CHECK(scene.apply(WriteSidecar{sidecar_of(vm.uid)}) == expected);
    CHECK(scene.apply(MakeBridge{network, bridge, "10.9.1.1/24"}) == expected);
    CHECK(scene.apply(WriteNat{network, nat_table_name(network), bridge, "10.9.1.0/24"}) == expected);
    CHECK(scene.apply(MakeTap{vm.uid, tap, bridge}) == expected);
    CHECK(scene.apply(StartJob{{vm.uid, "disk-data"}, MakeDataDisk{vm.uid, "data", mib(16)}}) == expected);
    REQUIRE(eventually([&] { return scene.view(vm.uid).jobs.at(0).state == JobState::Done; }));
  }
  CHECK(scene.hinted(vm.uid));
  CHECK(scene.hinted(network));
  const auto launch = launch_of(scene, vm.uid);
  CHECK(scene.apply(launch) == Applied::Changed);
  CHECK(scene.refusal(launch) == ErrorCode::Busy);
  REQUIRE(eventually([&] { return scene.view(vm.uid).vmm.vmm.has_value(); }));

  auto view = scene.view(vm.uid);
  CHECK(view.sidecar == sidecar_of(vm.uid));
  CHECK(view.sidecar_error.empty());
  CHECK(view.disks.size() == 2);
  REQUIRE(view.links.size() == 1);
  CHECK(view.links[0].master == bridge);
  CHECK(view.links[0].owner == vm.uid);
  CHECK(view.links[0].alias == label_text({vm.uid, instance_id(scene.options.layout.state_dir), {}}));
  CHECK(view.run_directory_exists);
  CHECK(view.vmm.monitor == MonitorState::Unreachable);  // the player has no monitor
  const NetworkQuery query{network, bridge};
  const auto all = scene.host->observe_all({query});
  REQUIRE(all);
  view.vmm.monitor = MonitorState::NotAsked;
  CHECK(all->vms.at(vm.uid) == view);
  CHECK(all->networks.at(network) == *scene.host->observe_network(query));
  CHECK(all->networks.at(network).nat->cidr == "10.9.1.0/24");
  CHECK(all->networks.at(network).foreign_links == std::vector<std::string>{"lo"});

  CHECK(scene.refusal(RemoveVmDirectory{vm.uid}) == ErrorCode::Busy);
  CHECK(scene.refusal(RemoveCgroup{vm.uid}) == ErrorCode::Busy);
  CHECK(scene.refusal(ClearRunDirectory{vm.uid}) == ErrorCode::Busy);
  CHECK(scene.apply(KillVmm{vm.uid}) == Applied::Changed);
  REQUIRE(eventually([&] { return !scene.view(vm.uid).vmm.cgroup_populated; }));
  CHECK(scene.apply(SyncDisks{vm.uid}) == Applied::Changed);
  for (const auto expected : {Applied::Changed, Applied::Unchanged}) {
    CHECK(scene.apply(RemoveLink{vm.uid, tap}) == expected);
    CHECK(scene.apply(RemoveLink{network, bridge}) == expected);
    CHECK(scene.apply(RemoveNat{network, nat_table_name(network)}) == expected);
    CHECK(scene.apply(RemoveCgroup{vm.uid}) == expected);
    CHECK(scene.apply(ClearRunDirectory{vm.uid}) == expected);
    CHECK(scene.apply(ForgetJob{{vm.uid, "disk-data"}}) == expected);
    CHECK(scene.apply(RemoveVmDirectory{vm.uid}) == expected);
  }
  view = scene.view(vm.uid);
  view.boot_id.clear();
  VmView nothing{.uid = vm.uid};
  nothing.vmm.driver = "qemu";
  nothing.vmm.accelerator = "tcg";
  nothing.vmm.accelerator_reason = "configured";
  nothing.vmm.socket = monitor_socket_path(scene.options.layout, vm.uid);
  CHECK(view == nothing);
  CHECK(scene.host->observe_all({})->vms.empty());
}

TEST_CASE("another daemon's VM on the same machine is none of ours, a new daemon on the same directories sees its own") {
  if (!in_own_network()) return;
  HostScene scene;
  HostScene other;
  const Vm vm;
  scene.apply(MakeVmDirectory{vm.uid, {}});
  auto launch = launch_of(scene, vm.uid);
  launch.nics.clear();
  scene.apply(launch);
  REQUIRE(eventually([&] { return scene.view(vm.uid).vmm.vmm.has_value(); }));
  CHECK(other.host->observe_all({})->vms.empty());
  const auto before = scene.host->observe_all({})->vms.at(vm.uid);
  scene.host.reset();
  scene.host = scene.open();
  CHECK(scene.host->observe_all({})->vms.at(vm.uid) == before);

  // Its directory lost, the VM is still found by what the kernel shows.
  fs::remove_all(vm_dir(scene.options.layout, vm.uid));
  CHECK(scene.host->observe_all({})->vms.at(vm.uid)->vmm.vmm);
  scene.apply(KillVmm{vm.uid});
  CHECK(scene.hinted(vm.uid));
}

TEST_CASE("a VM of which nothing has changed is one and the same view, and each change makes it another") {
  if (!in_own_network()) return;
  HostScene scene;
  const Vm vm;
  const auto network = fresh_uid();
  const auto bridge = bridge_name(network);
  const auto tap = tap_name(vm.uid, 0);
  scene.apply(MakeVmDirectory{vm.uid, {}});
  scene.apply(WriteSidecar{sidecar_of(vm.uid)});
  scene.apply(MakeBridge{network, bridge, "10.9.4.1/24"});
  scene.apply(MakeTap{vm.uid, tap, bridge});
  scene.apply(launch_of(scene, vm.uid));
  const auto look = [&] { return scene.host->observe_all({})->vms.at(vm.uid); };
  const auto settled = [&] {
    std::optional<Shared<VmView>> last;
    REQUIRE(eventually([&] {
      auto now = look();
      const bool same = last && last->is(now);
      last = std::move(now);
      return same && (*last)->vmm.vmm;
    }));
    return *last;
  };
  auto seen = settled();
  CHECK(look().is(seen));
  CHECK(seen->links.size() == 1);

  const std::vector<std::pair<std::string, std::function<void()>>> changes{
      {"another record",
       [&] {
         auto record = sidecar_of(vm.uid);
         record.generation = 4;
         scene.apply(WriteSidecar{record});
       }},
      {"a disk", [&] { std::ofstream(data_disk_path(scene.options.layout, vm.uid, "data")) << "data"; }},
      {"a job", [&] { scene.apply(StartJob{{vm.uid, "disk-new"}, MakeDataDisk{vm.uid, "new", mib(16)}}); }},
      {"the tap gone", [&] { scene.apply(RemoveLink{vm.uid, tap}); }},
      {"a new tap", [&] { CHECK(eventually([&] { return scene.host->apply(MakeTap{vm.uid, tap, bridge}).has_value(); })); }},
      {"the VMM gone", [&] { scene.apply(KillVmm{vm.uid}); }},
  };
  for (const auto& [what, change] : changes) {
    CAPTURE(what);
    change();
    CHECK(eventually([&] { return !(look() == seen); }));
    CHECK(eventually([&] {
      auto alone = scene.view(vm.uid);
      alone.vmm.monitor = MonitorState::NotAsked;
      alone.space = SpaceLevel::Plenty;
      return look() == alone;
    }));
    if (what != "the VMM gone") seen = settled();
  }
  CHECK(eventually([&] { return !look()->vmm.cgroup_populated; }));
  scene.apply(RemoveCgroup{vm.uid});
  CHECK_FALSE(look()->vmm.cgroup_exists);
}

TEST_CASE("a file or a link in the place of a VM's directory fails no look at it nor at the others") {
  if (!in_own_network()) return;
  const HostScene scene;
  const auto vm = fresh_uid();
  const auto file = fresh_uid();
  const auto link = fresh_uid();
  scene.apply(MakeVmDirectory{vm, {}});
  std::ofstream(vm_dir(scene.options.layout, file)) << "a file";
  fs::create_directory_symlink(scene.directory.path(), vm_dir(scene.options.layout, link));
  CHECK_FALSE(scene.view(file).directory_exists);
  CHECK_FALSE(scene.view(file).directory_is_link);
  CHECK(scene.view(link).directory_is_link);
  CHECK(scene.view(link).disks.empty());
  const auto all = scene.host->observe_all({});
  REQUIRE_MESSAGE(all, all.error().message);
  CHECK(all->vms.at(vm)->directory_exists);
  CHECK(all->vms.at(link)->directory_is_link);
  scene.apply(RemoveVmDirectory{link});
  CHECK_FALSE(scene.view(link).directory_is_link);
  CHECK(scene.view(vm).directory_exists);
}

TEST_CASE("the inventory shows everything of a VM with its proofs, and to another daemon as not its own") {
  if (!in_own_network()) return;
  HostScene scene;
  HostScene other;
  const Vm vm;
  const auto network = fresh_uid();
  const auto tap = tap_name(vm.uid, 0);
  const api::ObjectKey web{api::Kind::VirtualMachine, "default", "web"};
  scene.apply(MakeVmDirectory{vm.uid, {}});
  auto record = sidecar_of(vm.uid);
  record.nics = {{.network = "default", .network_uid = network, .tap = tap, .mac = "", .address = "", .gateway = ""}};
  scene.apply(WriteSidecar{record});
  scene.apply(MakeBridge{network, bridge_name(network), "10.9.3.1/24"});
  scene.apply(WriteNat{network, nat_table_name(network), bridge_name(network), "10.9.3.0/24"});
  scene.apply(MakeTap{.vm_uid = vm.uid, .name = tap, .bridge = bridge_name(network), .of = web});
  scene.apply(launch_of(scene, vm.uid));
  REQUIRE(eventually([&] { return scene.view(vm.uid).vmm.vmm.has_value(); }));

  const auto things = [](const HostScene& of) {
    auto all = of.host->inventory();
    REQUIRE_MESSAGE(all, all.error().message);
    return *std::move(all);
  };
  std::map<HostObjectType, HostObject> mine;
  for (const auto& thing : things(scene)) {
    if (thing.uid == vm.uid || thing.uid == network) mine.emplace(thing.type, thing);
  }
  for (const auto type : {HostObjectType::Process, HostObjectType::Tap, HostObjectType::NatTable, HostObjectType::Bridge,
                          HostObjectType::Cgroup, HostObjectType::RunDirectory, HostObjectType::VmDirectory}) {
    REQUIRE_MESSAGE(mine.contains(type), name_of(type));
    CHECK(mine.at(type).belonging == Belonging::Ours);
    CHECK_FALSE(mine.at(type).label.empty());
  }
  CHECK(mine.at(HostObjectType::Tap).recorded);
  CHECK(mine.at(HostObjectType::Tap).of == web);
  CHECK(mine.at(HostObjectType::Bridge).in_use == "1 port");
  CHECK(mine.at(HostObjectType::VmDirectory).holds_data);
  std::size_t seen = 0;
  for (const auto& thing : things(other)) {
    if (thing.uid != vm.uid && thing.uid != network) continue;
    ++seen;
    CHECK_MESSAGE(thing.belonging != Belonging::Ours, name_of(thing.type), " ", thing.name);
  }
  CHECK(seen >= 4);  // tap, bridge, table, group

  // Every record lost: what runs is found all the same, by what it says itself.
  fs::remove_all(vm_dir(scene.options.layout, vm.uid));
  std::size_t processes = 0;
  for (const auto& thing : things(scene)) {
    if (thing.uid != vm.uid) continue;
    CHECK(thing.belonging == Belonging::Ours);
    CHECK_FALSE(thing.recorded);
    if (thing.type == HostObjectType::Process) ++processes;
  }
  CHECK(processes == 2);
  scene.apply(KillVmm{vm.uid});
  CHECK(scene.hinted(vm.uid));
}

TEST_CASE("the loop over a base belongs to a VM that has it, when image and VM by whose name it was made are gone") {
  if (!in_own_network()) return;
  if (::access("/dev/loop-control", R_OK | W_OK) != 0) {
    MESSAGE("skipped: /dev/loop-control cannot be opened here");
    return;
  }
  HostScene scene;
  const auto& layout = scene.options.layout;
  const auto first = fresh_uid();
  const auto second = fresh_uid();
  for (const auto& uid : {first, second}) scene.apply(MakeVmDirectory{uid, {}});
  std::ofstream(root_base_path(layout, first)) << std::string(1U << 16U, 'x');
  fs::create_hard_link(root_base_path(layout, first), root_base_path(layout, second));
  const auto loop =
      block::attach_loop({.file = root_base_path(layout, first), .access = block::LoopAccess::ReadOnly, .label = ""});
  REQUIRE_MESSAGE(loop, loop.error().message);
  fs::remove_all(vm_dir(layout, first));
  const auto all = scene.host->inventory();
  REQUIRE(all);
  const auto found = std::ranges::find(*all, loop->path(), &HostObject::name);
  REQUIRE(found != all->end());
  CHECK(found->uid == second);
  CHECK(found->belonging == Belonging::Ours);
}

TEST_CASE("a real QEMU runs on our tap and disks, in its sandbox") {
  if (!in_own_network()) return;
  HostScene scene;
  scene.options.qemu_path.clear();
  scene.host.reset();
  scene.host = scene.open();
  const Vm vm;
  const auto kernels = scene.host->observe_kernel({vm.uid, ""});
  const auto qemu = vmm::find_qemu("");
  if (!kernels->kernel.exists || !qemu) {
    MESSAGE("skipped: needs an installed kernel (linux-image-cloud-amd64) and qemu-system-x86");
    return;
  }
  const auto network = fresh_uid();
  scene.apply(MakeVmDirectory{vm.uid, {}});
  scene.apply(MakeBridge{network, bridge_name(network), "10.9.2.1/24"});
  scene.apply(MakeTap{vm.uid, tap_name(vm.uid, 0), bridge_name(network)});
  scene.apply(StartJob{{vm.uid, "disk-data"}, MakeDataDisk{vm.uid, "data", mib(16)}});
  REQUIRE(eventually([&] { return scene.view(vm.uid).jobs.at(0).state == JobState::Done; }));
  auto launch = launch_of(scene, vm.uid);
  fs::resize_file(launch.disks[0].path, 1U << 20U);
  launch.kernel_path = kernels->kernel.path;
  launch.disks.push_back({"data", data_disk_path(scene.options.layout, vm.uid, "data")});
  scene.apply(launch);
  const bool runs = eventually([&] { return scene.view(vm.uid).vmm.monitor == MonitorState::Running; });
  const auto view = scene.view(vm.uid);
  CHECK_MESSAGE(runs, view.vmm.exit.value_or(ExitView{}).message);
  CHECK(view.vmm.accelerator == "tcg");
  CHECK(scene.refusal(RemoveLink{vm.uid, tap_name(vm.uid, 0)}) == ErrorCode::Busy);
  scene.apply(KillVmm{vm.uid});
  REQUIRE(eventually([&] { return !scene.view(vm.uid).vmm.cgroup_populated; }));
  CHECK(scene.apply(RemoveLink{vm.uid, tap_name(vm.uid, 0)}) == Applied::Changed);
}

TEST_CASE("a root disk that is a dm-snapshot carries a real QEMU, is barred while it lives, and goes with its loops") {
  if (!in_own_network()) return;
  if (const auto works = block::dm::check_snapshot_target(); !works) {
    MESSAGE("skipped: no device-mapper on this machine: ", works.error().message);
    return;
  }
  HostScene scene;
  scene.options.qemu_path.clear();
  scene.host.reset();
  scene.host = scene.open();
  const Vm vm;
  const auto kernels = scene.host->observe_kernel({vm.uid, ""});
  if (!kernels->kernel.exists || !vmm::find_qemu("")) {
    MESSAGE("skipped: needs an installed kernel (linux-image-cloud-amd64) and qemu-system-x86");
    return;
  }
  const auto& layout = scene.options.layout;
  scene.apply(MakeVmDirectory{vm.uid, {}});
  const auto base = layout.state_dir / "base-1.ext4";
  std::ofstream(base) << "";
  REQUIRE(block::make_empty_ext4(base, {.size = mib(64)}));
  scene.apply(StartJob{{vm.uid, "root-disk"}, MakeRootDisk{.vm_uid = vm.uid, .base_path = base, .cow_size = mib(16)}});
  REQUIRE(eventually([&] { return scene.view(vm.uid).jobs.at(0).state == JobState::Done; }));
  CHECK(scene.view(vm.uid).jobs.at(0).result == "dm-snapshot");
  for (const auto expected : {Applied::Changed, Applied::Unchanged}) {
    CHECK(scene.apply(ActivateRootDisk{vm.uid, mib(128)}) == expected);
  }
  const LaunchVmm launch{.vm_uid = vm.uid,
                         .vm_name = "web",
                         .memory = mib(128),
                         .kernel_path = kernels->kernel.path,
                         .disks = {{"root", dm_device_path(vm.uid), root_cow_path(layout, vm.uid)}}};
  scene.apply(launch);
  const bool runs = eventually([&] { return scene.view(vm.uid).vmm.monitor == MonitorState::Running; });
  auto view = scene.view(vm.uid);
  CHECK_MESSAGE(runs, view.vmm.exit.value_or(ExitView{}).message);
  REQUIRE(view.snapshot);
  CHECK(view.snapshot->open_count > 0);
  CHECK(view.snapshot->size == mib(128));
  CHECK(view.loops.size() == 2);
  const auto all = scene.host->observe_all({});
  REQUIRE(all);
  CHECK(all->vms.at(vm.uid)->snapshot == view.snapshot);
  CHECK(all->vms.at(vm.uid)->loops == view.loops);
  CHECK(scene.refusal(DeactivateRootDisk{vm.uid}) == ErrorCode::Busy);
  CHECK(scene.refusal(launch) == ErrorCode::Busy);
  CHECK(scene.apply(GrowRootCow{vm.uid, mib(32)}) == Applied::Changed);
  CHECK(scene.view(vm.uid).snapshot->cow_size == mib(32));

  scene.apply(KillVmm{vm.uid});
  REQUIRE(eventually([&] { return !scene.view(vm.uid).vmm.cgroup_populated; }));
  CHECK(scene.apply(SyncDisks{vm.uid}) == Applied::Changed);
  CHECK(scene.refusal(RemoveVmDirectory{vm.uid}) == ErrorCode::Busy);
  // Its directory lost, the node is found by the file below it, and goes.
  fs::remove_all(vm_dir(layout, vm.uid));
  CHECK(scene.host->observe_all({})->vms.at(vm.uid)->snapshot->ours);
  for (const auto expected : {Applied::Changed, Applied::Unchanged}) {
    CHECK(scene.apply(DeactivateRootDisk{vm.uid}) == expected);
    scene.apply(RemoveCgroup{vm.uid});
    scene.apply(ClearRunDirectory{vm.uid});
  }
  CHECK_FALSE(scene.host->observe_all({})->vms.contains(vm.uid));
  CHECK_FALSE(fs::exists(dm_device_path(vm.uid)));
}

TEST_CASE("a vm.json that cannot be used is told, not taken") {
  if (!in_own_network()) return;
  HostScene scene;
  const auto uid = fresh_uid();
  scene.apply(MakeVmDirectory{uid, {}});
  const auto path = sidecar_path(scene.options.layout, uid);
  std::ofstream(path) << "{ not json";
  CHECK_FALSE(scene.view(uid).sidecar);
  CHECK_FALSE(scene.view(uid).sidecar_error.empty());
  std::ofstream(path) << encode_sidecar(sidecar_of(fresh_uid()));
  CHECK(scene.view(uid).sidecar_error.starts_with("vm.json is that of another VM"));
  fs::remove(path);
  fs::create_directory(path);
  CHECK_FALSE(scene.view(uid).sidecar_error.empty());
}

TEST_CASE("removing a VM's directory follows no link out of it") {
  if (!in_own_network()) return;
  HostScene scene;
  const auto uid = fresh_uid();
  const auto precious = scene.directory.path() / "precious";
  fs::create_directory(precious);
  std::ofstream(precious / "file") << "x";
  scene.apply(MakeVmDirectory{uid, {}});
  fs::create_directory_symlink(precious, vm_dir(scene.options.layout, uid) / "link");
  CHECK(scene.apply(RemoveVmDirectory{uid}) == Applied::Changed);
  CHECK(fs::exists(precious / "file"));
  fs::create_directory_symlink(precious, vm_dir(scene.options.layout, uid));
  CHECK_FALSE(scene.view(uid).directory_exists);
  CHECK(scene.apply(RemoveVmDirectory{uid}) == Applied::Changed);
  CHECK(fs::exists(precious / "file"));
}

TEST_CASE("images and kernels are observed with their jobs, and their directories removed") {
  if (!in_own_network()) return;
  HostScene scene;
  const auto uid = fresh_uid();
  const auto source = scene.directory.path() / "none.tar";
  scene.apply(StartJob{{uid, "build"}, BuildImage{.image_uid = uid, .spec = {.path = source}}});
  CHECK(scene.hinted(uid));
  const auto seen = scene.host->observe_image({uid, source});
  REQUIRE(seen);
  CHECK_FALSE(seen->source.exists);
  REQUIRE(seen->jobs.size() == 1);
  CHECK(seen->jobs[0].state == JobState::Failed);
  CHECK(seen->jobs[0].error->message.find("none.tar") != std::string::npos);
  fs::create_directories(image_dir(scene.options.layout, uid));
  CHECK(scene.apply(RemoveImageDirectory{uid}) == Applied::Changed);
  CHECK(scene.apply(RemoveImageDirectory{uid}) == Applied::Unchanged);
  CHECK(scene.apply(RemoveKernelDirectory{uid}) == Applied::Unchanged);
  const auto kernel = scene.host->observe_kernel({uid, BANGER_TEST_VMM});
  REQUIRE(kernel);
  CHECK(kernel->kernel.exists);
  CHECK_FALSE(scene.host->observe_kernel({"no uid", ""}));
}
