// SPDX-License-Identifier: Apache-2.0
// What a VM holds: addresses and disks.
#include <fmt/format.h>

#include "reconcilers/virtual_machine/status.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

TEST_CASE("asking a silent guest once more changes nothing in the status, however long the asking took") {
  const Plan plan{
      .operation = Operation::Start,
      .phase = "Starting",
      .steps = {{.name = "Probe", .step = actuators::StartJob{.key = {.owner_uid = "u", .name = "probe"}}, .undo = {}}}};
  const auto asked = [&](api::VirtualMachineStatus status, int milliseconds) {
    AppliedSteps applied;
    applied.steps.push_back(
        {.name = "Probe", .state = "Done", .duration = std::chrono::milliseconds(milliseconds), .message = ""});
    status.steps = merge_steps(status, plan, applied);
    return status;
  };
  const auto first = asked({.phase = "Starting"}, 0);
  REQUIRE(first.steps.size() == 1);
  CHECK(first.steps.front().state == "Running");
  CHECK(asked(first, 3) == first);
}

TEST_CASE_FIXTURE(World, "fixed addresses are honoured; one that is taken or outside is a condition") {
  create_builtins();
  create_image();
  auto first = vm_object("a");
  std::get<api::VirtualMachine>(first.body).spec.network_interfaces[0].address = "10.63.0.77";
  create(first);
  settle();
  CHECK(status("a").network_interfaces[0].address == "10.63.0.77/24");
  first.meta.name = "b";
  create(first);
  settle();
  CHECK(condition("AddressConflict", "b") == "True AddressConflict");
  CHECK(message("Ready", "b") == "10.63.0.77 of the Network default is leased to default/a");
  edit_vm([](auto& spec, auto&) { spec.network_interfaces[0].address = "10.64.0.1"; }, "b");
  settle();
  CHECK(message("Ready", "b") ==
        "10.64.0.1 is not an address for guests of the Network default (10.63.0.0/24, gateway 10.63.0.1)");
  remove(vm_key("a"));
  edit_vm([](auto& spec, auto&) { spec.network_interfaces[0].address = "10.63.0.77"; }, "b");
  settle();
  CHECK(condition("Ready", "b") == "True Ready");
}

TEST_CASE_FIXTURE(World, "a full network leaves the next VM pending until an address is free") {
  create_builtins();
  create_image();
  api::Object small;
  small.meta.name = "small";
  small.body = api::Network{.spec = {.cidr = "10.9.0.0/29"}, .status = {}};
  create(small);
  for (int i = 0; i < 6; ++i) {
    auto vm = vm_object(fmt::format("vm{}", i));
    std::get<api::VirtualMachine>(vm.body).spec.network_interfaces[0].network = "small";
    create(vm);
  }
  settle();
  std::vector<std::string> waiting;
  for (int i = 0; i < 6; ++i) {
    if (status(fmt::format("vm{}", i)).phase == "Pending") waiting.push_back(fmt::format("vm{}", i));
  }
  REQUIRE(waiting.size() == 1);  // a /29 has five addresses beside the gateway
  CHECK(condition("Ready", waiting[0]) == "False AddressesExhausted");
  remove(vm_key(waiting[0] == "vm0" ? "vm1" : "vm0"));
  settle();
  CHECK(condition("Ready", waiting[0]) == "True Ready");
}

TEST_CASE_FIXTURE(World, "a VM made anew under its name gets its old address") {
  running_vm();
  const auto address = status().network_interfaces[0].address;
  remove(vm_key());
  settle();
  create_vm();
  settle();
  CHECK(status().network_interfaces[0].address == address);
}

TEST_CASE_FIXTURE(World, "an interface that goes gives its address and its tap back at the restart") {
  create_builtins();
  create_image();
  auto object = vm_object("web");
  auto& nics = std::get<api::VirtualMachine>(object.body).spec.network_interfaces;
  nics.push_back(nics.front());
  const auto uid = create(std::move(object)).meta.uid;
  settle();
  CHECK(leases() == 2);
  CHECK(host.launched(uid)->nics.size() == 2);
  edit_vm([](auto& spec, auto&) { spec.network_interfaces.pop_back(); });
  settle();
  CHECK(leases() == 2);  // still in use
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(leases() == 1);
  CHECK(host.launched(uid)->nics.size() == 1);
  CHECK(host.links().size() == 2);  // bridge and one tap
}

TEST_CASE_FIXTURE(World, "a disk that has run is never made anew") {
  const auto uid = running_vm();
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; });
  settle();
  host.lose_disk(uid, "data");
  edit_vm([](auto& spec, auto&) { spec.power_state = api::PowerState::Running; });
  settle();
  CHECK(condition("DataLost") == "True DiskMissing");
  CHECK(condition("Ready") == "False DataLost");
  CHECK_FALSE(host.disk_exists(uid, "data"));
}

TEST_CASE_FIXTURE(World, "a data disk that is lost, and vm.json after it, is not made anew") {
  const auto uid = running_vm();
  host.lose_disk(uid, "data");
  edit_vm([](auto& spec, auto&) { spec.memory = mib(320); });
  settle();
  const auto disks = status().disks;
  const auto shown = std::ranges::find(disks, "data", &api::DiskStatus::name);
  REQUIRE(shown != disks.end());
  CHECK(shown->state == "Missing");
  host.lose_sidecar(uid);
  settle();
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(condition("DataLost") == "True DiskMissing");
  CHECK_FALSE(host.disk_exists(uid, "data"));
}

TEST_CASE_FIXTURE(World, "a data disk grows at the restart that carries its edit out") {
  const auto uid = running_vm();
  edit_vm([](auto& spec, auto&) { spec.disks[0].size = mib(128); });
  settle();
  CHECK(condition("RestartRequired") == "True PendingChanges");
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(condition("RestartRequired") == "absent");
  const auto view = *host.observe_vm(uid, 1);
  const auto disk = std::ranges::find(view.disks, "data", &actuators::DiskView::name);
  REQUIRE(disk != view.disks.end());
  CHECK(disk->size == mib(128));
}

TEST_CASE_FIXTURE(World, "a root disk grows at the restart that carries its edit out, without its image") {
  const auto uid = running_vm();
  remove(key(api::Kind::Image, "demo"));
  edit_vm([](auto& spec, auto&) {
    spec.root_disk.size = mib(512);
    spec.restart_nonce = "1";
  });
  settle();
  CHECK(condition("Ready") == "True Ready");
  const auto view = *host.observe_vm(uid, 1);
  const auto disk = std::ranges::find(view.disks, "root", &actuators::DiskView::name);
  REQUIRE(disk != view.disks.end());
  CHECK(disk->size == mib(512));
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
