// SPDX-License-Identifier: Apache-2.0
// A VM that should run and lives: is it the right one, does it answer, what waits.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "reconcilers/virtual_machine/leases.hpp"
#include "reconcilers/virtual_machine/lost_nics.hpp"
#include "reconcilers/virtual_machine/record.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"
#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::JobState;
using actuators::MonitorState;
using api::ConditionStatus;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr milliseconds kSpaceIsLow = seconds(2);

milliseconds since_launch(const Situation& at) {
  if (at.sidecar == nullptr || !at.sidecar->launched) return milliseconds::max();
  const milliseconds since = at.observed.now - *at.sidecar->launched;
  if (since < -kLaunchLimit) return milliseconds::max();  // the clock was set back: what it was before, nobody knows
  return std::max(milliseconds(0), since);
}

// vm.json is gone or cannot be read, and the VMM lives: what can be known is written again.
Plan plan_lost_sidecar(const Situation& at) {
  Plan plan{.phase = "Running"};
  if (awaits_ranges(at)) {
    say_running(plan, ConditionStatus::True, "Running", "the VMM runs");
    say_ready(plan, ConditionStatus::Unknown, "SidecarLost", "vm.json is lost; it is written again when its networks are ready");
    plan.look_again = seconds(1);
    return plan;
  }
  auto next = rebuilt_record(at);
  const auto why = record_loss(at);
  if (!at.host.directory_exists) plan.steps.push_back(vm_directory(at, next.nics));
  plan.steps.push_back(step("Sidecar", actuators::WriteSidecar{std::move(next)}));
  plan.events.push_back(
      {.type = api::EventType::Warning, .reason = "SidecarLost", .message = why + "; written again from what is observed"});
  plan_pending_changes(plan, at);
  say_ready(plan, ConditionStatus::Unknown, "SidecarLost", why);
  say_running(plan, ConditionStatus::True, "Running", "the VMM runs");
  plan.look_again = kAtOnce;
  return plan;
}

// The VMM lives and cannot go on: it is ended, and its policy decides what follows.
Plan plan_end(const Situation& at, std::string_view reason, std::string message) {
  Plan plan{.operation = Operation::Start, .phase = "Starting"};
  if (at.sidecar->ended.empty())
    plan.steps.push_back(step("End", actuators::WriteSidecar{ended_as(*at.sidecar, reason, at.observed.now)}));
  plan.steps.push_back(step("Kill", actuators::KillVmm{at.uid}));
  if (at.sidecar->ended.empty())
    plan.events.push_back({.type = api::EventType::Warning, .reason = std::string(reason), .message = message});
  say_ready(plan, ConditionStatus::False, std::string(reason), message);
  say_running(plan, ConditionStatus::False, std::string(reason), std::move(message));
  plan.look_again = kBarrier;
  return plan;
}

// Only the shim is seen. It is about to start the VMM, or it outlives the VMM for as long as it takes to write down how that
// ended: killed in that moment, nobody would know.
bool shim_may_go_on(const Situation& at) {
  if (since_launch(at) <= kLaunchLimit) return true;
  const auto* running = api::find_condition(at.vm.status.conditions, "Running");
  if (running == nullptr) return false;
  if (running->status == ConditionStatus::True || !running->last_transition_time) return true;
  return at.observed.now - *running->last_transition_time <= kLaunchLimit;
}

Plan plan_unverified(const Situation& at) {
  Plan plan{.operation = Operation::Start, .phase = "Starting"};
  const auto& processes = at.host.vmm.processes;
  const auto suspect = std::ranges::find_if(
      processes, [](const auto& process) { return process.in_cgroup && process.names_socket && !process.is_shim; });
  // What shows nothing of itself is on its way out, or is not ours to end.
  const bool shim = std::ranges::any_of(processes, [](const auto& each) { return each.in_cgroup && each.names_socket; });
  if (suspect == processes.end() && shim && !shim_may_go_on(at) && at.sidecar->launches > 0)
    return plan_end(at, "StartFailed", "the shim runs without a VMM");
  if (suspect == processes.end()) {
    const bool starts = since_launch(at) <= kLaunchLimit;
    const std::string message = starts ? "waits for the VMM to show" : "waits for what the VMM's shim says about its end";
    say_ready(plan, ConditionStatus::False, starts ? "Starting" : "Ending", message);
    say_running(plan, ConditionStatus::False, starts ? "Starting" : "Ending", message);
    plan.look_again = shim_may_go_on(at) ? milliseconds(200) : milliseconds(2000);
    return plan;
  }
  // It may be our VMM whose program was replaced by an upgrade: never ended for that.
  auto message = fmt::format("{} is in the VM's cgroup and is not a VMM that we know", list_of({&*suspect}));
  plan.phase = "Running";
  say_ready(plan, ConditionStatus::Unknown, "VmmUnverified", message);
  say_running(plan, ConditionStatus::Unknown, "VmmUnverified", std::move(message));
  plan.look_again = seconds(2);
  return plan;
}

// The record of a launch names no process until its VMM was seen once. After that any other VMM in its place is none that we
// started, whatever it looks like.
bool is_another(const Situation& at) {
  const auto& recorded = at.sidecar->process;
  return recorded && (recorded->pid != at.vmm->pid || recorded->start_time_ticks != at.vmm->start_time_ticks);
}

Plan plan_another(const Situation& at) {
  Plan plan{.phase = "Running"};
  auto message = fmt::format(
      "{} is in the place of this VM's VMM and is not the process on record (pid {}, start time {}); "
      "it is left alone until the VM is stopped or restarted",
      list_of({at.vmm}), at.sidecar->process->pid, at.sidecar->process->start_time_ticks);
  const auto* ready = api::find_condition(at.vm.status.conditions, "Ready");
  if (ready == nullptr || ready->message != message)
    plan.events.push_back({.type = api::EventType::Warning, .reason = "VmmUnverified", .message = message});
  say_ready(plan, ConditionStatus::Unknown, "VmmUnverified", message);
  say_running(plan, ConditionStatus::Unknown, "VmmUnverified", std::move(message));
  plan.look_again = kSlowly;
  return plan;
}

// A VMM keeps a file to the tap it opened; when that tap is gone, only another launch gives it a network again.
std::string lost_tap(const Situation& at) {
  for (const auto& nic : at.sidecar->nics) {
    const auto* tap = own_tap(at, nic.tap);
    if (nic.tap_index != 0 && (tap == nullptr || tap->index != nic.tap_index)) return nic.tap;
  }
  return {};
}

void plan_tap_repairs(Plan& plan, const Situation& at) {
  for (const auto& nic : at.sidecar->nics) {
    const auto* tap = own_tap(at, nic.tap);
    const auto& network = network_named(at.observed, nic.network);
    if (tap == nullptr || !network.state.ready) continue;
    if (tap->up && tap->master == network.bridge && tap->mtu == network.mtu) continue;
    plan.steps.push_back(
        step("Repair/" + nic.tap,
             actuators::MakeTap{
                 .vm_uid = at.uid, .name = nic.tap, .bridge = network.bridge, .mtu = network.mtu, .of = api::key_of(at.object)}));
    plan.look_again = kAtOnce;
  }
}

// The address that a running guest uses stays claimed, whatever became of its lease.
void plan_lease_repairs(Plan& plan, const Situation& at) {
  for (std::size_t i = 0; i < at.sidecar->nics.size(); ++i) {
    const auto& nic = at.sidecar->nics[i];
    const auto address = nic.address.substr(0, nic.address.find('/'));
    const auto lease = std::ranges::find_if(
        at.observed.leases, [&](const auto& each) { return each.network == nic.network && each.address == address; });
    if (lease == at.observed.leases.end()) {
      plan.claims.push_back({.network = nic.network,
                             .address = address,
                             .vm_uid = at.uid,
                             .vm_namespace = at.object.meta.ns,
                             .vm_name = at.object.meta.name,
                             .interface_index = static_cast<std::int64_t>(i)});
    } else if (lease->vm_uid != at.uid) {
      auto message = fmt::format("{} is leased to {}/{} while this VM uses it", address, lease->vm_namespace, lease->vm_name);
      plan.findings.push_back({.type = "AddressConflict",
                               .status = ConditionStatus::True,
                               .reason = "AddressConflict",
                               .message = std::move(message)});
    }
  }
}

void say_answering(Plan& plan, const Situation& at, std::string message) {
  plan.phase = "Running";
  say_ready(plan, ConditionStatus::True, "Ready", message);
  if (!was_ready(at)) plan.events.push_back({.type = api::EventType::Normal, .reason = "Ready", .message = std::move(message)});
  const auto shown = std::ranges::find(at.vm.status.steps, "GuestReady", &api::StepStatus::name);
  if (!was_ready(at) || (shown != at.vm.status.steps.end() && shown->state != "Done")) {
    plan.operation = Operation::Start;
    const auto since = since_launch(at);
    plan.progress.push_back({.name = "GuestReady",
                             .state = "Done",
                             .duration = since == milliseconds::max() ? milliseconds(0) : since,
                             .message = ""});
  }
}

// Ready when its SSH server answered in this launch. A guest that never answers is not ended for that.
void plan_readiness(Plan& plan, const Situation& at) {
  const auto target = ssh_target(at);
  if (!target) return say_answering(plan, at, "the guest runs");
  const auto where = fmt::format("{}:{}", target->address, target->port);
  const actuators::JobSpec spec = actuators::ProbeSsh{*target};
  const auto* job = find_job(at, "probe");
  const bool current = job != nullptr && job->spec == spec;
  if (current && job->state == JobState::Done) return say_answering(plan, at, "the guest answers on SSH at " + where);

  if (was_ready(at) && (!current || job->state == JobState::Running)) {
    say_answering(plan, at, "the guest answers on SSH at " + where);  // until the new look says otherwise
  } else {
    plan.operation = Operation::Start;
    plan.phase = since_launch(at) < minutes(5) ? "Starting" : "Running";
    say_ready(plan, ConditionStatus::False, "WaitingForSsh", "waits for the guest's SSH server at " + where);
  }
  plan.look_again = since_launch(at) < seconds(30) ? milliseconds(500) : milliseconds(2000);
  if (current && job->state == JobState::Running) return;
  if (current) {
    plan.steps.push_back(forget_job(at, "probe"));  // failed: asked again at the next look
  } else if (job == nullptr || job->state != JobState::Running) {
    plan.steps.push_back(step("Probe", actuators::StartJob{.key = {.owner_uid = at.uid, .name = "probe"}, .spec = spec}));
  }
}

void plan_unanswering(Plan& plan, const Situation& at) {
  if (at.host.vmm.monitor == MonitorState::IoError) return plan_full_disk(plan, at);
  plan.phase = since_launch(at) < kLaunchLimit ? "Starting" : "Running";
  if (at.host.vmm.monitor == MonitorState::Paused) {
    say_ready(plan, ConditionStatus::False, "Paused", "the guest is paused");
    say_running(plan, ConditionStatus::False, "Paused", "the guest is paused");
  } else if (at.host.vmm.monitor == MonitorState::Prelaunch) {
    say_ready(plan, ConditionStatus::False, "Starting", "the VMM prepares the guest");
    say_running(plan, ConditionStatus::False, "Starting", "the VMM prepares the guest");
  } else {
    say_ready(plan, ConditionStatus::Unknown, "MonitorUnreachable", "the VMM runs and its monitor does not answer");
    say_running(plan, ConditionStatus::Unknown, "MonitorUnreachable", "the VMM runs and its monitor does not answer");
  }
  plan.look_again = since_launch(at) < kLaunchLimit ? milliseconds(200) : milliseconds(2000);
}

void plan_strange_processes(Plan& plan, const Situation& at) {
  if (at.strays.empty()) return;
  auto message = fmt::format("a process that names this VM's socket runs outside its cgroup: {}; end it", list_of(at.strays));
  plan.events.push_back({.type = api::EventType::Warning, .reason = "StrayProcess", .message = message});
  plan.findings.push_back(
      {.type = "StrayProcess", .status = ConditionStatus::True, .reason = "StrayProcess", .message = std::move(message)});
}

// Which process it is that runs, for a teardown that knows nothing else.
void plan_process_record(Plan& plan, const Situation& at) {
  auto process = process_of(at);
  if (!process || at.sidecar->process) return;
  auto next = *at.sidecar;
  next.process = std::move(process);
  plan.steps.push_back(step("Process", actuators::WriteSidecar{std::move(next)}));
}

Plan plan_healthy(const Situation& at, const std::string& lost) {
  Plan plan{.phase = "Running"};
  plan.look_again = kSlowly;
  plan_process_record(plan, at);
  plan_pending_changes(plan, at);
  plan_strange_processes(plan, at);
  if (!lost.empty()) {
    plan.findings.push_back({.type = "NetworkLost",
                             .status = ConditionStatus::True,
                             .reason = "TapGone",
                             .message = fmt::format("the tap {} that the VMM uses is gone; a restart would cure it", lost)});
  }
  plan_tap_repairs(plan, at);
  plan_device_repairs(plan, at);
  plan_lease_repairs(plan, at);
  if (find_job(at, "sync") != nullptr) plan.steps.push_back(forget_job(at, "sync"));  // of a stop that was called off
  const auto monitor = at.host.vmm.monitor;
  if (monitor == MonitorState::Running || monitor == MonitorState::NotAsked) {
    say_running(plan, ConditionStatus::True, "Running", "the VMM runs");
    if (lost_root_disk(at)) {
      say_ready(plan, ConditionStatus::False, "RootDiskInvalid",
                "the guest lost its root disk: see the condition RootDiskInvalid");
    } else {
      plan_readiness(plan, at);
    }
  } else {
    plan_unanswering(plan, at);
  }
  // The next write may be refused: that is to be seen soon.
  if (at.host.space != actuators::SpaceLevel::Plenty && monitor != MonitorState::IoError)
    plan.look_again = std::min(*plan.look_again, kSpaceIsLow);
  return plan;
}

// What the VMM holds is gone for good: another launch gives it anew.
Plan plan_restart(const Situation& at, const std::string& reason, std::string message) {
  auto plan = plan_stop(at, reason, "Stopping");
  if (find_job(at, "sync") == nullptr)
    plan.events.insert(plan.events.begin(), {.type = api::EventType::Warning, .reason = reason, .message = std::move(message)});
  return plan;
}

}  // namespace

Plan plan_running(const Situation& at) {
  if (at.sidecar == nullptr) return plan_lost_sidecar(at);
  const auto& ended = at.sidecar->ended;
  if (ended == kEndedOnPurpose || ended == "NetworkLost" || ended == "RootDeviceLost") return plan_stop(at, ended, "Stopping");
  if (!ended.empty()) return plan_end(at, ended, "waits for the VMM to end: " + ended);
  if (at.sidecar->launches > 0 && at.sidecar->launched_spec.restart_nonce != at.spec.restart_nonce)
    return plan_stop(at, kEndedOnPurpose, "Stopping");
  if (at.vmm == nullptr) return plan_unverified(at);
  if (is_another(at)) return plan_another(at);

  const auto monitor = at.host.vmm.monitor;
  if (monitor == MonitorState::InternalError) return plan_end(at, "InternalError", "the VMM stopped with an internal error");
  if (monitor == MonitorState::Shutdown) return plan_end(at, "GuestShutdown", "the guest powered off");
  if (monitor == MonitorState::Prelaunch && since_launch(at) > kLaunchLimit)
    return plan_end(at, "StartFailed", "the VMM did not start the guest");

  const auto lost = lost_tap(at);
  const auto wiped = wiped_device(at);
  const bool may_restart = monitor != MonitorState::IoError && at.spec.restart_policy != api::RestartPolicy::Never &&
                           foreign_tap(at) == nullptr && foreign_device(at).empty();
  if (may_restart && !lost.empty())
    return plan_restart(at, "NetworkLost", fmt::format("the tap {} that the VMM uses is gone: the VM is restarted", lost));
  if (may_restart && !wiped.empty()) return plan_restart(at, "RootDeviceLost", wiped + ": the VM is restarted");
  return plan_healthy(at, lost);
}

}  // namespace banger::reconcilers::virtual_machine
