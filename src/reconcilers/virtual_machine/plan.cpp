// SPDX-License-Identifier: Apache-2.0
// Which part of a VM's life is at hand; each part is planned in a file of its own.
#include "reconcilers/virtual_machine/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "reconcilers/virtual_machine/record.hpp"
#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using api::ConditionStatus;
using std::chrono::milliseconds;

bool starts_again(api::RestartPolicy policy, std::string_view ended) {
  if (ended == "GuestReboot") return true;  // the guest asked for it
  if (ended == "GuestShutdown") return policy == api::RestartPolicy::Always;
  return policy != api::RestartPolicy::Never;
}

actuators::Sidecar cleared_process(const Situation& at) {
  auto record = *at.sidecar;
  record.process.reset();
  return record;
}

// The VMM is gone and nothing says that it was to go: write down how it ended before its traces are removed.
Plan plan_end_seen(const Situation& at) {
  const bool rebooted = at.sidecar->boot_id != at.host.boot_id && !at.host.vmm.exit;
  const auto& exit = at.host.vmm.exit;
  const std::string reason = exit && !exit->reason.empty() ? exit->reason : "Unknown";
  std::string message = fmt::format("the VMM ended: {}", reason);
  if (rebooted) message = "the VMM is gone: the host was restarted";
  if (exit && exit->signal != 0) message += fmt::format(" (signal {})", exit->signal);
  if (exit && exit->exit_code != 0) message += fmt::format(" (exit code {})", exit->exit_code);
  if (exit && !exit->message.empty()) message += ": " + printable(exit->message);

  Plan plan{.operation = Operation::Start, .phase = "Starting"};
  const auto ended = at.sidecar->launched_spec.restart_nonce != at.spec.restart_nonce ? kEndedOnPurpose : reason;
  plan.steps.push_back(step("End", actuators::WriteSidecar{ended_as(cleared_process(at), ended, at.observed.now)}));
  const bool guest_did = reason == "GuestShutdown" || reason == "GuestReboot";
  plan.events.push_back({.type = guest_did ? api::EventType::Normal : api::EventType::Warning,
                         .reason = guest_did ? reason : "VmmEnded",
                         .message = message});
  say_ready(plan, ConditionStatus::False, reason, message);
  say_running(plan, ConditionStatus::False, reason, std::move(message));
  plan.look_again = kAtOnce;
  return plan;
}

Plan plan_backoff(const Situation& at) {
  Plan plan{.operation = Operation::None, .phase = "Pending"};
  const auto message = fmt::format("it ended {} times in a row (the last time: {}); it is started again after a pause",
                                   at.sidecar->failures, at.sidecar->ended);
  say_ready(plan, ConditionStatus::False, "BackOff", message);
  say_running(plan, ConditionStatus::False, at.sidecar->ended, message);
  plan.look_again = backoff_left(*at.sidecar, at.observed.now);
  return plan;
}

// It should run and does not.
Plan plan_down(const Situation& at) {
  const auto* sidecar = at.sidecar;
  if (sidecar == nullptr || sidecar->launches == 0) return plan_start(at);
  if (sidecar->ended.empty()) return plan_end_seen(at);
  const bool asked = sidecar->launched_spec.restart_nonce != at.spec.restart_nonce;
  if (sidecar->ended == kEndedOnPurpose || asked) return plan_start(at);
  if (!starts_again(at.spec.restart_policy, sidecar->ended)) {
    const bool off = sidecar->ended == "GuestShutdown";
    return plan_stopped(
        at, off ? "Stopped" : "Failed", sidecar->ended,
        off ? "guest powered off" : fmt::format("the VMM ended: {}; its restartPolicy leaves it so", sidecar->ended));
  }
  if (backoff_left(*sidecar, at.observed.now) > milliseconds(0)) return plan_backoff(at);
  return plan_start(at);
}

// A VMM of ours outside its cgroup, or something that names its socket: it may hold the disks.
Plan plan_strays(const Situation& at) {
  Plan plan{.phase = at.object.meta.deletion_time ? "Deleting" : "Pending"};
  auto message =
      fmt::format("waits for a process that names this VM's socket from outside its cgroup: {}; end it", list_of(at.strays));
  plan.findings.push_back(
      {.type = "StrayProcess", .status = ConditionStatus::True, .reason = "StrayProcess", .message = message});
  plan.events.push_back({.type = api::EventType::Warning, .reason = "StrayProcess", .message = message});
  say_ready(plan, ConditionStatus::False, "StrayProcess", message);
  say_running(plan, ConditionStatus::Unknown, "StrayProcess", std::move(message));
  plan.look_again = std::chrono::seconds(5);
  return plan;
}

void say_foreign_group(Plan& plan, const Situation& at) {
  const bool said = std::ranges::find(plan.findings, "NameConflict", &Finding::type) != plan.findings.end();
  if (at.strangers.empty()) return;
  if (plan.steps.empty() || !plan.look_again) plan.look_again = kStrangers;
  if (said) return;
  auto message = foreign_group(at);
  plan.findings.push_back(
      {.type = "NameConflict", .status = ConditionStatus::True, .reason = "ForeignObject", .message = message});
  plan.events.push_back({.type = api::EventType::Warning, .reason = "NameConflict", .message = std::move(message)});
}

Plan plan_power(const Situation& at) {
  if (!at.alive && !at.strays.empty()) return plan_strays(at);
  if (at.object.meta.deletion_time) return plan_deletion(at);
  if (at.alive && at.sidecar == nullptr) return plan_running(at);  // written again first: a stop needs it to ask for a sync
  if (at.spec.power_state == api::PowerState::Running) return at.alive ? plan_running(at) : plan_down(at);
  if (at.alive) return plan_stop(at, kEndedOnPurpose, "Stopping");
  return plan_stopped(at, "Stopped", "Stopped", "powerState is Stopped");
}

}  // namespace

Plan plan_for(const api::Object& object, const Context& context, const actuators::VmView& host) {
  const auto at = look_at(object, context, host);
  auto plan = plan_power(at);
  say_foreign_group(plan, at);
  if (!object.meta.deletion_time && !has_finalizer(object)) plan.finalizer = FinalizerChange::Add;
  keep_object_on_record(plan, at);
  return plan;
}

}  // namespace banger::reconcilers::virtual_machine
