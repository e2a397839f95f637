// SPDX-License-Identifier: Apache-2.0
// What is said of a running VM whose record was lost, and with it what it was started as.
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

struct LostWorld : World {
  std::uint64_t launched_generation(const std::string& uid) {
    const auto view = host.observe_vm(uid, 1);
    REQUIRE(view.has_value());
    REQUIRE(view->sidecar.has_value());
    return view->sidecar->generation;
  }
};

TEST_CASE_FIXTURE(LostWorld, "where the status tells that nothing waited, a lost record hides nothing") {
  const auto uid = running_vm();
  host.lose_sidecar(uid);
  settle();
  CHECK(condition("RestartRequired") == "absent");
  CHECK(launched_generation(uid) == 1);
  edit_vm([](auto& spec, auto&) { spec.memory = mib(512); });
  settle();
  CHECK(message("RestartRequired") == "memory 256Mi → 512Mi waits for a restart: bangerctl restart web");
}

TEST_CASE_FIXTURE(LostWorld, "a change that waited when the record was lost is not forgotten, until a restart") {
  const auto uid = running_vm();
  const auto pid = status().vmm->pid;
  edit_vm([](auto& spec, auto&) { spec.memory = mib(512); });
  settle();
  for (const bool spoilt : {false, true}) {
    CAPTURE(spoilt);
    spoilt ? host.spoil_sidecar(uid, "not JSON") : host.lose_sidecar(uid);
    settle();
    CHECK(condition("RestartRequired") == "Unknown RecordLost");
    CHECK(message("RestartRequired") ==
          "vm.json was lost while the VM ran, and with it what the VM was started as (memory 256Mi → 512Mi waited then); "
          "bangerctl restart web makes it what its spec says");
    REQUIRE(status().pending_changes.size() == 1);
    CHECK(status().pending_changes[0].from == "256Mi");
    CHECK(launched_generation(uid) == 0);
  }
  // As it was before: whether something is to be done, only the record knew.
  edit_vm([](auto& spec, auto&) { spec.memory = mib(256); });
  settle();
  CHECK(condition("RestartRequired") == "Unknown RecordLost");
  CHECK(status().vmm->pid == pid);
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(status().vmm->pid != pid);
  CHECK(condition("RestartRequired") == "absent");
  CHECK(status().pending_changes.empty());
  CHECK(condition("Ready") == "True Ready");
}

TEST_CASE_FIXTURE(LostWorld, "an edit and the loss of the record at once, or the loss of the status too, leave it unknown") {
  const auto uid = running_vm();
  host.lose_sidecar(uid);
  edit_vm([](auto& spec, auto&) { spec.memory = mib(512); });
  settle();
  CHECK(condition("RestartRequired") == "Unknown RecordLost");
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(condition("RestartRequired") == "absent");
  host.lose_sidecar(uid);
  REQUIRE(objects.edit_status(vm_key(), [](api::Object& object) -> Result<void> {
    std::get<api::VirtualMachine>(object.body).status = {};
    return {};
  }));
  settle();
  CHECK(condition("RestartRequired") == "Unknown RecordLost");
  CHECK(message("RestartRequired").find("waited") == std::string::npos);
  CHECK(condition("Ready") == "True Ready");
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
