// SPDX-License-Identifier: Apache-2.0
// The end of a VMM: sync in the guest, then kill, then wait, then tear down. Three plans, not one call that blocks.
#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/record.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"
#include "reconcilers/virtual_machine/situation.hpp"
#include "reconcilers/virtual_machine/teardown.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::JobState;
using actuators::MonitorState;
using api::ConditionStatus;

struct Verdict {
  bool decided = false;
  std::string nonce;   // synced with this
  std::string reason;  // else: why not
  std::string message;
};

constexpr std::string_view kSynced = "the guest synced its disks before it was ended";

Verdict synced(std::string nonce) {
  return {.decided = true, .nonce = std::move(nonce), .reason = "Synced", .message = std::string(kSynced)};
}

Verdict unsynced(std::string reason, std::string message) {
  return {.decided = true, .nonce = "", .reason = std::move(reason), .message = std::move(message)};
}

bool synced_in_last_launch(const Situation& at) {
  return at.sidecar != nullptr && at.sidecar->sync_nonce.starts_with(fmt::format("{}:", at.sidecar->launches));
}

// Launched a moment ago, and nothing has answered since: there is no one to ask for a sync. Later a probe that fails says little
// (it may be the first one of a daemon that was restarted), and asking in vain costs 2 s.
bool never_answered(const Situation& at) {
  if (!at.sidecar->launched || at.observed.now - *at.sidecar->launched > kShortRun) return false;
  if (const auto* probe = find_job(at, "probe")) return probe->state != JobState::Done && !was_ready(at);
  const auto* ready = api::find_condition(at.vm.status.conditions, "Ready");
  return ready != nullptr && ready->reason == "WaitingForSsh";
}

// A VMM that was killed stays in its group for a moment and can no longer be verified: what was found out before the kill stands.
// One that still runs is asked again, since its guest may have written since.
Verdict verdict_on_the_ending(const Situation& at) {
  if (!synced_in_last_launch(at)) return unsynced("SyncNotConfirmed", "the VMM is ending or is none that we know");
  const auto& recorded = at.sidecar->sync_nonce;
  return synced(recorded.substr(recorded.find(':') + 1));
}

Verdict verdict_of(const Situation& at) {
  const auto monitor = at.host.vmm.monitor;
  if (at.vmm == nullptr) return verdict_on_the_ending(at);
  if (monitor == MonitorState::InternalError || monitor == MonitorState::Shutdown || monitor == MonitorState::Prelaunch)
    return unsynced("SyncNotConfirmed", "the guest does not run any more");
  if (!ssh_target(at))
    return unsynced("NoSsh", "the VM has no ssh or no network interface, so the guest could not be asked to sync");
  const auto* job = find_job(at, "sync");
  if (job == nullptr) {
    if (never_answered(at)) return unsynced("NotReady", "the guest never answered on SSH, so it was not asked to sync");
    return {};
  }
  if (job->state == JobState::Running) return {};
  const auto* asked = std::get_if<actuators::SyncGuest>(&job->spec);
  if (job->state == JobState::Done && asked != nullptr && job->result == asked->nonce) return synced(asked->nonce);
  if (job->state == JobState::Done) return unsynced("SyncNotConfirmed", "the guest did not echo the nonce after its sync");
  if (monitor == MonitorState::IoError)
    return unsynced("DiskFull", "the guest could not sync its disks: " + full_disk_sentence(at));
  const auto error = job->error.value_or(internal("the sync failed and does not say why"));
  const bool unreachable = error.code == ErrorCode::Unavailable && !error.message.starts_with("SyncNotConfirmed");
  return unsynced(unreachable ? "GuestUnreachable" : "SyncNotConfirmed",
                  "the guest did not confirm a sync: " + printable(error.message));
}

Finding clean_shutdown(bool clean, std::string reason, std::string message) {
  return {.type = "CleanShutdown",
          .status = clean ? ConditionStatus::True : ConditionStatus::False,
          .reason = std::move(reason),
          .message = std::move(message)};
}

void plan_kill(Plan& plan, const Situation& at, std::string_view ended, const Verdict& verdict) {
  const bool clean = !verdict.nonce.empty();
  if (at.sidecar != nullptr) {
    auto next = *at.sidecar;
    if (next.ended.empty()) next = ended_as(next, ended, at.observed.now);
    next.sync_nonce = clean ? fmt::format("{}:{}", next.launches, verdict.nonce) : "";
    if (next != *at.sidecar) plan.steps.push_back(step("End", actuators::WriteSidecar{std::move(next)}));
  }
  // A disk that has no room for the record does not keep a VM that is to go; else the record comes first.
  const bool deleting = at.object.meta.deletion_time.has_value();
  plan.steps.insert(deleting ? plan.steps.begin() : plan.steps.end(), step("Kill", actuators::KillVmm{at.uid}));
  const bool said = at.vmm == nullptr && at.sidecar != nullptr && !at.sidecar->ended.empty();
  if (clean || !said) plan.findings.push_back(clean_shutdown(clean, verdict.reason, verdict.message));
  if (!clean && (at.sidecar == nullptr || at.sidecar->ended.empty()))
    plan.events.push_back({.type = api::EventType::Warning, .reason = verdict.reason, .message = verdict.message});
  say_ready(plan, ConditionStatus::False, "Stopping", "waits for the VMM to end");
  plan.look_again = kBarrier;
}

void plan_sync(Plan& plan, const Situation& at) {
  say_ready(plan, ConditionStatus::False, "Stopping", "waits for the guest to sync its disks");
  plan.look_again = std::chrono::milliseconds(500);  // the job's end wakes us earlier
  if (at.host.vmm.monitor == MonitorState::IoError) plan.steps.push_back(step("Resume", actuators::ResumeVmm{at.uid}));
  if (const auto* job = find_job(at, "sync")) {
    plan.progress.push_back({.name = "Sync", .state = "Running", .duration = job->duration, .message = ""});
    return;
  }
  const actuators::SyncGuest sync{.target = *ssh_target(at), .nonce = at.observed.fresh_nonce};
  plan.steps.push_back(step("Sync", actuators::StartJob{.key = {.owner_uid = at.uid, .name = "sync"}, .spec = sync}));
}

// The verdict on a VMM that is gone: what was confirmed, or how it ended.
void plan_verdict(Plan& plan, const Situation& at) {
  if (synced_in_last_launch(at)) {
    plan.findings.push_back(clean_shutdown(true, "Synced", std::string(kSynced)));
  } else if (at.host.vmm.exit && at.host.vmm.exit->reason == "GuestShutdown") {
    plan.findings.push_back(clean_shutdown(true, "GuestShutdown", "the guest powered off by itself"));
  } else if (at.sidecar != nullptr && at.sidecar->ended != kEndedOnPurpose && at.sidecar->launches > 0) {
    plan.findings.push_back(clean_shutdown(false, "SyncNotConfirmed", "the VMM ended without a sync in the guest"));
  }  // else: said when it was killed
}

}  // namespace

Plan plan_stop(const Situation& at, std::string_view ended, std::string_view phase) {
  Plan plan{.operation = Operation::Stop, .phase = std::string(phase)};
  say_running(plan, ConditionStatus::True, "Stopping", "the VMM is still there");
  const auto verdict = verdict_of(at);
  if (const auto* job = find_job(at, "sync"); job != nullptr && verdict.decided) {
    plan.progress.push_back({.name = "Sync",
                             .state = verdict.nonce.empty() ? "Failed" : "Done",
                             .duration = job->duration,
                             .message = verdict.nonce.empty() ? verdict.message : ""});
  }
  if (verdict.decided) {
    plan_kill(plan, at, ended, verdict);
  } else {
    plan_sync(plan, at);
  }
  plan_resume(plan, at);  // a VMM that waits for it neither syncs nor ends
  return plan;
}

namespace {

bool only_forgets(const std::vector<PlannedStep>& steps) {
  return std::ranges::all_of(steps, [](const auto& each) { return std::holds_alternative<actuators::ForgetJob>(each.step); });
}

std::string names_of(const std::vector<PlannedStep>& steps) {
  std::vector<std::string> names;
  for (const auto& each : steps) {
    if (!std::holds_alternative<actuators::ForgetJob>(each.step)) names.push_back(each.name);
  }
  return join(names, ", ");
}

// What the graph says, as steps and as a sentence.
void take_up(Plan& plan, const Situation& at, Teardown teardown, const std::string& going) {
  plan.steps = std::move(teardown.steps);
  const bool acts = !only_forgets(plan.steps);
  plan.look_again = acts ? kAtOnce : at.host.jobs.empty() ? std::chrono::milliseconds(1000) : kBarrier;
  std::vector<std::string> parts;
  if (acts) parts.push_back(going + names_of(plan.steps));
  parts.insert(parts.end(), teardown.waits.begin(), teardown.waits.end());
  say_ready(plan, ConditionStatus::False, plan.phase, parts.empty() ? "its jobs are being forgotten" : join(parts, "; "));
}

}  // namespace

Plan plan_stopped(const Situation& at, std::string_view phase, std::string_view reason, std::string_view message) {
  auto teardown = plan_teardown(at, Purpose::Stop);
  Plan plan{.operation = Operation::Stop, .phase = "Stopping"};
  plan_pending_changes(plan, at);
  say_running(plan, ConditionStatus::False, std::string(reason), "the VMM is gone");
  const bool acts = !only_forgets(teardown.steps);
  // After a reboot there may be nothing to tear down; what was said of an earlier stop is no verdict on this end.
  const bool ended_by_itself = at.spec.power_state == api::PowerState::Stopped && at.sidecar != nullptr &&
                               at.sidecar->launches > 0 && at.sidecar->ended != kEndedOnPurpose;
  if (acts || ended_by_itself) plan_verdict(plan, at);
  if (acts) {
    plan.events.push_back({.type = api::EventType::Normal, .reason = "Stopped", .message = std::string(message)});
  }
  // Strangers in a group of its name keep what it has, and nothing else from being stopped.
  const bool beside = !at.strangers.empty() && teardown.waits.size() == 1;
  const bool idle = teardown.steps.empty() && (teardown.waits.empty() || beside);
  if (!idle) take_up(plan, at, std::move(teardown), "what was made for the VMM is being removed: ");
  if (at.sidecar != nullptr) {
    auto next = idle ? cleared_record(at) : *at.sidecar;
    const bool wanted = at.spec.power_state == api::PowerState::Stopped;
    if (wanted && next.launches > 0 && next.ended != kEndedOnPurpose)
      next = ended_as(std::move(next), kEndedOnPurpose, at.observed.now);
    if (next != *at.sidecar) plan.steps.push_back(step("Cleared", actuators::WriteSidecar{std::move(next)}));
  }
  if (!idle) return plan;
  plan.phase = std::string(phase);
  std::erase_if(plan.findings, [](const Finding& finding) { return finding.type == "Running"; });
  say_ready(plan, ConditionStatus::False, std::string(reason), std::string(message));
  say_running(plan, ConditionStatus::False, std::string(reason), std::string(message));
  if (plan.steps.empty()) plan.operation = Operation::None;
  return plan;
}

Plan plan_deletion(const Situation& at) {
  if (at.alive) return plan_stop(at, kEndedOnPurpose, "Deleting");
  auto teardown = plan_teardown(at, Purpose::Delete);
  Plan plan{.operation = Operation::Stop, .phase = "Deleting"};
  say_running(plan, ConditionStatus::False, "Deleting", "no VMM runs");
  if (!teardown.steps.empty() || !teardown.waits.empty()) {
    take_up(plan, at, std::move(teardown), "waits until what was made for it is gone: ");
    return plan;
  }
  // Everything was seen to be gone.
  say_ready(plan, ConditionStatus::False, "Deleting", "its addresses are being given back");
  for (const auto& lease : at.observed.leases) {
    if (lease.vm_uid == at.uid) plan.releases.push_back(lease);
  }
  plan.finalizer = FinalizerChange::Remove;
  return plan;
}

}  // namespace banger::reconcilers::virtual_machine
