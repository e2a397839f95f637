// SPDX-License-Identifier: Apache-2.0
// A guest that waits at a write, because the host's disk had no room for it.
#include <fmt/format.h>

#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {

using actuators::SpaceLevel;
using std::chrono::seconds;

std::string full_disk_sentence(const Situation& at) {
  return fmt::format("the host's disk is full or failing and the guest waits at a write; free space in the file system of {}",
                     at.observed.layout.state_dir.string());
}

void plan_full_disk(Plan& plan, const Situation& at) {
  const auto* ready = api::find_condition(at.vm.status.conditions, "Ready");
  const bool said = ready != nullptr && ready->reason == "DiskFull";
  auto message = full_disk_sentence(at);
  plan.phase = "Running";
  // What answered before the pause does not show that the guest answers after it.
  if (const auto* probe = find_job(at, "probe"); probe != nullptr && probe->state != actuators::JobState::Running)
    plan.steps.push_back(forget_job(at, "probe"));
  // Our measure of "full" may be wrong, so now and then it is tried against it.
  if (at.host.space != SpaceLevel::Full || said) plan.steps.push_back(step("Resume", actuators::ResumeVmm{at.uid}));
  if (!said) plan.events.push_back({.type = api::EventType::Warning, .reason = "DiskFull", .message = message});
  plan.findings.push_back(
      {.type = "HostDiskFull", .status = api::ConditionStatus::True, .reason = "GuestWaits", .message = message});
  say_ready(plan, api::ConditionStatus::False, "DiskFull", message);
  say_running(plan, api::ConditionStatus::False, "DiskFull", std::move(message));
  plan.look_again = at.host.space == SpaceLevel::Full ? seconds(10) : seconds(2);
}

}  // namespace banger::reconcilers::virtual_machine
