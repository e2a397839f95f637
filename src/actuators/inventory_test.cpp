// SPDX-License-Identifier: Apache-2.0
#include "actuators/inventory.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

#include "base/files.hpp"
#include "base/random.hpp"

using namespace banger;
using namespace banger::actuators;
namespace fs = std::filesystem;

namespace {

const std::string kVm = "1b5e6f6a-1111-4222-8333-444455556666";
const std::string kNetwork = "0b5e6f6a-1111-4222-8333-444455556666";
const std::string kStranger = "2c5e6f6a-1111-4222-8333-444455556666";
const api::ObjectKey kWeb{api::Kind::VirtualMachine, "default", "web"};
const Layout kLayout{"/s", "/r"};
const std::string kUs = "0123abcd";
const std::string kThem = "89abcdef";

LinkView link(const std::string& name, const std::string& kind, const std::string& alias, const std::string& master = "") {
  return {.name = name, .kind = kind, .alias = alias, .owner = owner_by_label(alias, kUs), .master = master, .addresses = {}};
}
NatView nat(const std::string& uid, const std::string& comment) {
  return {.table = nat_table_name(uid), .comment = comment, .owner = owner_by_label(comment, kUs), .bridge = "", .cidr = ""};
}

InventoryFacts facts() {
  InventoryFacts out{.instance = kUs, .layout = kLayout};
  return out;
}

const HostObject& find(const std::vector<HostObject>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &HostObject::name);
  REQUIRE_MESSAGE(found != all.end(), name);
  return *found;
}

Sidecar record() {
  Sidecar out;
  out.uid = kVm;
  out.ns = "default";
  out.name = "web";
  out.nics = {{.network = "default", .network_uid = kNetwork, .tap = tap_name(kVm, 0), .mac = "", .address = "", .gateway = ""}};
  out.dm_name = dm_name(kVm);
  out.loop_files = {"/s/vms/" + kVm + "/root.cow"};
  out.process = ProcessRecord{.pid = 42, .start_time_ticks = 7, .exe = "/usr/bin/qemu", .socket = ""};
  return out;
}

}  // namespace

TEST_CASE("a link's owner is in its alias, or in the record of a VM, or in both, or nowhere") {
  auto given = facts();
  given.links = {link(tap_name(kVm, 0), "tun", label_text({kVm, kUs, kWeb})),
                 link(tap_name(kVm, 1), "tun", label_text({.uid = kVm})),
                 link(tap_name(kStranger, 0), "tun", label_text({kStranger, kThem, kWeb})),
                 link(tap_name(kNetwork, 0), "tun", ""),
                 link("eth0", "", "uplink"),
                 link("br-lan", "bridge", label_text({kNetwork, kUs, {}}))};
  given.records.emplace(kVm, record());
  const auto all = inventory_of(given);
  CHECK(all.size() == 5);
  const auto& both = find(all, tap_name(kVm, 0));
  CHECK(both == HostObject{.type = HostObjectType::Tap,
                           .name = tap_name(kVm, 0),
                           .uid = kVm,
                           .of = kWeb,
                           .label = "alias",
                           .recorded = true,
                           .in_use = ""});
  CHECK_FALSE(find(all, tap_name(kVm, 1)).recorded);
  CHECK(find(all, tap_name(kStranger, 0)).belonging == Belonging::OtherDaemon);
  CHECK(find(all, tap_name(kNetwork, 0)).belonging == Belonging::Foreign);
  CHECK(find(all, tap_name(kNetwork, 0)).uid.empty());
  CHECK(find(all, "br-lan").type == HostObjectType::Bridge);
}

TEST_CASE("a tap that a record names but that bears no label of ours stays a foreign one") {
  auto given = facts();
  given.links = {link(tap_name(kVm, 0), "tun", "")};
  given.records.emplace(kVm, record());
  const auto all = inventory_of(given);
  CHECK(all.at(0).belonging == Belonging::Foreign);
  CHECK(all.at(0).recorded);
  CHECK(all.at(0).of == kWeb);
}

TEST_CASE("a bridge with ports is in use, and so is its network's table") {
  auto given = facts();
  given.links = {link(bridge_name(kNetwork), "bridge", label_text({kNetwork, kUs, {}})),
                 link(tap_name(kVm, 0), "tun", label_text({kVm, kUs, {}}), bridge_name(kNetwork))};
  given.nats = {nat(kNetwork, label_text({kNetwork, kUs, {}})), nat(kStranger, "theirs"), nat(kVm, label_text({kVm, kThem, {}}))};
  const auto all = inventory_of(given);
  CHECK(find(all, bridge_name(kNetwork)).in_use == "1 port");
  CHECK(find(all, nat_table_name(kNetwork)).in_use == "1 port of " + bridge_name(kNetwork));
  CHECK(find(all, nat_table_name(kStranger)).belonging == Belonging::Foreign);
  CHECK(find(all, nat_table_name(kVm)).belonging == Belonging::OtherDaemon);
}

TEST_CASE("a group without processes is ours only where something else proves its uid") {
  auto given = facts();
  given.vmms[kVm].cgroup_exists = true;
  CHECK(inventory_of(given).at(0).belonging == Belonging::Unproven);
  given.links = {link(tap_name(kVm, 0), "tun", label_text({.uid = kVm}))};
  CHECK(find(inventory_of(given), cgroup_name(kVm)).belonging == Belonging::Unproven);
  CHECK(find(inventory_of(given), tap_name(kVm, 0)).belonging == Belonging::Unproven);  // it may be any daemon's
  given.directories = {{.type = HostObjectType::VmDirectory, .path = vm_dir(kLayout, kVm), .uid = kVm, .of = {}}};
  CHECK(find(inventory_of(given), tap_name(kVm, 0)).belonging == Belonging::Ours);
  given.directories.clear();
  given.links = {link(tap_name(kVm, 0), "tun", label_text({kVm, kUs, {}}))};
  CHECK(find(inventory_of(given), cgroup_name(kVm)).belonging == Belonging::Ours);
  given.links.clear();
  given.directories = {{.type = HostObjectType::RunDirectory, .path = vm_run_dir(kLayout, kVm), .uid = "", .of = {}}};
  CHECK(find(inventory_of(given), cgroup_name(kVm)).belonging == Belonging::Ours);
}

TEST_CASE("a VMM is ours by the socket it names, one that runs in a group of our name without it is another daemon's") {
  auto given = facts();
  auto& ours = given.vmms[kVm];
  ours.cgroup_exists = ours.cgroup_populated = true;
  ours.processes = {
      {.pid = 41, .start_time_ticks = 6, .exe = "/x/banger-shim", .is_shim = true, .names_socket = true, .in_cgroup = true},
      {.pid = 42, .start_time_ticks = 7, .exe = "/usr/bin/qemu (deleted)", .names_socket = true, .in_cgroup = true}};
  auto& theirs = given.vmms[kStranger];
  theirs.cgroup_exists = theirs.cgroup_populated = true;
  theirs.processes = {{.pid = 50, .exe = "/usr/bin/qemu", .in_cgroup = true}};
  given.records.emplace(kVm, record());
  const auto all = inventory_of(given);
  CHECK(find(all, "41 banger-shim").label == "command line");
  CHECK(find(all, "42 qemu").recorded);
  CHECK(find(all, "42 qemu").of == kWeb);
  CHECK(find(all, "50 qemu").belonging == Belonging::Unproven);
  CHECK(find(all, cgroup_name(kVm)).in_use == "2 processes");
  CHECK(find(all, cgroup_name(kStranger)).belonging == Belonging::Unproven);
}

TEST_CASE("what runs in a group of a VM of ours without naming its socket is a stranger, and so is the group") {
  auto given = facts();
  given.directories = {{.type = HostObjectType::RunDirectory, .path = vm_run_dir(kLayout, kVm), .uid = "", .of = {}}};
  auto& vmm = given.vmms[kVm];
  vmm.cgroup_exists = vmm.cgroup_populated = true;
  vmm.processes = {{.pid = 50, .exe = "/usr/bin/sleep", .in_cgroup = true}};
  auto all = inventory_of(given);
  CHECK(find(all, "50 sleep").belonging == Belonging::Foreign);
  CHECK(find(all, cgroup_name(kVm)).belonging == Belonging::Foreign);
  // Beside a VMM of ours it goes with the group.
  vmm.processes.push_back({.pid = 51, .exe = "/usr/bin/qemu", .names_socket = true, .in_cgroup = true});
  all = inventory_of(given);
  CHECK(find(all, cgroup_name(kVm)).belonging == Belonging::Ours);
}

TEST_CASE("loops and nodes prove themselves by the file they stand over") {
  auto given = facts();
  const auto directory = "/s/vms/" + kVm;
  given.loops = {
      {.device = "/dev/loop0",
       .backing = "/s/images/" + kNetwork + "/base-1.ext4",
       .read_only = true,
       .autoclear = true,
       .label = ""},
      {.device = "/dev/loop1", .backing = directory + "/root.cow", .autoclear = true, .label = cow_loop_label(kVm)},
      {.device = "/dev/loop2", .backing = directory + "/root.img", .label = ""},
      {.device = "/dev/loop3", .backing = "/home/x/root.cow", .label = cow_loop_label(kStranger)},
      {.device = "/dev/loop4", .backing = "/home/x/disk", .label = ""},
      {.device = "/dev/loop5", .backing = directory + "/root.cow", .label = "mine"},
      {.device = "/dev/loop6", .backing = directory + "/root.base", .read_only = true, .autoclear = true, .label = ""}};
  given.owner_of_loop = {{"/dev/loop6", kNetwork}};
  SnapshotView node{.name = dm_name(kVm),
                    .uuid = dm_uuid(kVm),
                    .open_count = 1,
                    .origin = "/dev/loop0",
                    .cow = "/dev/loop1",
                    .origin_file = "",
                    .cow_file = directory + "/root.cow"};
  auto theirs = node;
  theirs.name = dm_name(kStranger);
  theirs.uuid = dm_uuid(kStranger);
  theirs.cow_file = "/srv/other/vms/" + kStranger + "/root.cow";
  theirs.cow = theirs.origin = "/dev/loop9";
  auto foreign = theirs;
  foreign.name = dm_name(kNetwork);
  foreign.uuid = "LVM-x";
  auto renamed = node;
  renamed.name = "my-disk";
  given.nodes = {node, theirs, foreign, renamed};
  given.directories = {
      {.type = HostObjectType::VmDirectory, .path = directory, .uid = kVm, .of = {}, .recorded = true, .holds_data = true}};
  given.records.emplace(kVm, record());
  const auto all = inventory_of(given);
  CHECK(find(all, "/dev/loop0").uid == kNetwork);
  CHECK(find(all, "/dev/loop0").in_use == dm_name(kVm));
  CHECK(find(all, "/dev/loop1").belonging == Belonging::Ours);
  CHECK(find(all, "/dev/loop1").recorded);
  CHECK(find(all, "/dev/loop2").belonging == Belonging::Foreign);
  CHECK(find(all, "/dev/loop3").belonging == Belonging::OtherDaemon);
  CHECK(std::ranges::count(all, "/dev/loop4", &HostObject::name) == 0);
  CHECK(find(all, "/dev/loop5").belonging == Belonging::Foreign);
  CHECK(find(all, "/dev/loop6").uid == kNetwork);
  CHECK(find(all, dm_name(kVm)).belonging == Belonging::Ours);
  CHECK(find(all, "my-disk").belonging == Belonging::Ours);
  CHECK(find(all, dm_name(kVm)).recorded);
  CHECK(find(all, dm_name(kVm)).in_use == "1 opener");
  CHECK(find(all, dm_name(kStranger)).belonging == Belonging::OtherDaemon);
  CHECK(find(all, dm_name(kNetwork)).belonging == Belonging::Foreign);
  CHECK(find(all, directory).in_use.ends_with("which bangerd did not make"));
}

TEST_CASE("a half-made node, without a table, is ours where its uid is proven otherwise") {
  auto given = facts();
  given.nodes = {{.name = dm_name(kVm), .uuid = dm_uuid(kVm), .origin = "", .cow = "", .origin_file = "", .cow_file = ""}};
  CHECK(inventory_of(given).at(0).belonging == Belonging::Unproven);
  given.directories = {{.type = HostObjectType::VmDirectory, .path = "/s/vms/" + kVm, .uid = kVm, .of = {}}};
  CHECK(find(inventory_of(given), dm_name(kVm)).belonging == Belonging::Ours);
}

TEST_CASE("the inventory of a thousand machines grows with their number, not with its square") {
  SeededRandom random(11);
  const auto build = [&](std::size_t count) {
    auto given = facts();
    for (std::size_t i = 0; i < count; ++i) {
      const auto uid = new_uid(random);
      const auto cow = root_cow_path(kLayout, uid).native();
      given.links.push_back(link(tap_name(uid, 0), "tun", label_text({uid, kUs, {}}), "br-lan"));
      given.loops.push_back(
          {.device = "/dev/loop" + std::to_string(i), .backing = cow, .autoclear = true, .label = cow_loop_label(uid)});
      given.nodes.push_back({.name = dm_name(uid),
                             .uuid = dm_uuid(uid),
                             .origin = "/dev/loop9999",
                             .cow = "/dev/loop" + std::to_string(i),
                             .origin_file = "",
                             .cow_file = cow});
      given.directories.push_back({.type = HostObjectType::VmDirectory, .path = vm_dir(kLayout, uid), .uid = uid, .of = {}});
      auto saved = record();
      saved.uid = uid;
      saved.nics[0].tap = tap_name(uid, 0);
      saved.loop_files = {cow};
      given.records.emplace(uid, std::move(saved));
    }
    const auto start = std::chrono::steady_clock::now();
    const auto all = inventory_of(given);
    CHECK(all.size() == 4 * count);
    CHECK(std::ranges::all_of(all, [](const HostObject& object) { return object.belonging == Belonging::Ours; }));
    return std::chrono::steady_clock::now() - start;
  };
  const auto few = build(250);
  const auto many = build(1000);
  MESSAGE("put together: 250 machines in ", std::chrono::duration<double, std::milli>(few).count(), " ms, 1000 in ",
          std::chrono::duration<double, std::milli>(many).count(), " ms");
}

TEST_CASE("directories are read with their records, links and strange names in them are passed over") {
  std::string scratch = "/tmp/banger-inventory-XXXXXX";
  REQUIRE(::mkdtemp(scratch.data()) != nullptr);
  auto given = facts();
  given.layout = {scratch + "/s", scratch + "/r"};
  add_directories(given);
  CHECK(given.directories.empty());
  fs::create_directories(vm_dir(given.layout, kVm));
  std::ofstream(sidecar_path(given.layout, kVm)) << encode_sidecar(record());
  std::ofstream(root_cow_path(given.layout, kVm)) << "x";
  fs::create_directories(given.layout.state_dir / "vms" / "not-a-uid");
  fs::create_directory_symlink("/etc", vm_dir(given.layout, kStranger));
  fs::create_directories(image_dir(given.layout, kNetwork));
  fs::create_directories(vm_run_dir(given.layout, kVm));
  fs::create_directories(vm_run_dir(given.layout, kStranger));
  add_directories(given);
  CHECK(given.records.at(kVm) == record());
  const auto all = inventory_of(given);
  CHECK(all.size() == 4);
  const auto& vm = find(all, vm_dir(given.layout, kVm));
  CHECK(vm.recorded);
  CHECK(vm.holds_data);
  CHECK(vm.of == kWeb);
  CHECK_FALSE(find(all, image_dir(given.layout, kNetwork)).holds_data);
  CHECK(find(all, vm_run_dir(given.layout, kVm)).uid == kVm);
  const auto& lost = find(all, vm_run_dir(given.layout, kStranger));  // nothing but its short id is left
  CHECK(short_id(lost.uid) == short_id(kStranger));
  CHECK(lost.uid != kStranger);

  std::ofstream(sidecar_path(given.layout, kVm)) << "{ not json";
  auto spoilt = facts();
  spoilt.layout = given.layout;
  add_directories(spoilt);
  CHECK(spoilt.records.empty());
  CHECK_FALSE(find(inventory_of(spoilt), vm_dir(given.layout, kVm)).recorded);
  REQUIRE(remove_tree(scratch));
}
