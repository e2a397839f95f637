// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "actuators/names.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/kernel_objects.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"
#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

void put(std::vector<api::StepStatus>& steps, api::StepStatus next) {
  const auto found = std::ranges::find(steps, next.name, &api::StepStatus::name);
  if (found == steps.end()) {
    steps.push_back(std::move(next));
  } else {
    *found = std::move(next);
  }
}

bool is_start_phase(const std::string& phase) { return phase == "Pending" || phase == "Starting"; }
bool is_stop_phase(const std::string& phase) { return phase == "Stopping" || phase == "Deleting"; }

// A pass belongs to the pipeline that is shown if the last one did and that has not come to a failure.
bool continues(const api::VirtualMachineStatus& old, const Plan& plan) {
  if (plan.operation == Operation::Stop) return is_stop_phase(old.phase);
  if (plan.phase == "Running") return true;  // only its readiness is left
  const bool failed =
      std::ranges::any_of(old.steps, [](const auto& each) { return each.state == "Failed" || each.state == "Undone"; });
  return is_start_phase(old.phase) && !failed;
}

// A job that was only asked for, or forgotten, is not a step that was done.
std::vector<api::StepStatus> shown(const Plan& plan, const AppliedSteps& applied) {
  std::vector<api::StepStatus> steps;
  for (std::size_t i = 0; i < applied.steps.size(); ++i) {
    const auto& step = plan.steps[i].step;
    if (std::holds_alternative<actuators::ForgetJob>(step)) continue;
    auto each = applied.steps[i];
    if (each.name == "Probe") each.name = "GuestReady";
    if (std::holds_alternative<actuators::StartJob>(step) && each.state == "Done") {
      each.state = "Running";
      each.duration = {};  // of the asking; a guest that never answers is asked every 2 s, and nothing changes by that
    }
    each.message = printable(each.message);
    steps.push_back(std::move(each));
  }
  return steps;
}

// The record as it stands after this pass.
const actuators::Sidecar* sidecar_after(const Observed& observed, const Plan& plan, const AppliedSteps& applied) {
  const auto* sidecar = observed.host.sidecar ? &*observed.host.sidecar : nullptr;
  for (std::size_t i = 0; !applied.error && i < applied.steps.size(); ++i) {
    if (const auto* written = std::get_if<actuators::WriteSidecar>(&plan.steps[i].step)) sidecar = &written->sidecar;
  }
  return sidecar;
}

void fill_interfaces(api::VirtualMachineStatus& status, const actuators::Sidecar* sidecar) {
  status.network_interfaces.clear();
  if (sidecar == nullptr) return;
  for (const auto& nic : sidecar->nics) {
    status.network_interfaces.push_back(
        {.network = nic.network, .tap = nic.tap, .mac = nic.mac, .address = nic.address, .gateway = nic.gateway});
  }
}

void fill_root_disk(api::DiskStatus& root, const actuators::VmView& host) {
  root.cow_size = root.size;
  root.size = {};
  if (!host.snapshot || !host.snapshot->ours) return;
  root.device = actuators::dm_device_path(host.uid).string();
  root.size = host.snapshot->size;
  if (host.snapshot->live) root.cow_used_percent = used_percent(*host.snapshot);
}

// A data disk that was made stays in the status when its file goes: who rebuilds a lost vm.json must not take it for one that was
// never made.
void keep_missing_disks(api::VirtualMachineStatus& status, const std::vector<api::DiskStatus>& old, const Observed& observed,
                        const actuators::Sidecar* after) {
  const auto keep = [&](const std::string& name) {
    if (name == "root" || std::ranges::find(status.disks, name, &api::DiskStatus::name) != status.disks.end()) return;
    const auto path = actuators::data_disk_path(observed.layout, observed.host.uid, name);
    status.disks.push_back({.name = name, .path = path.string(), .state = "Missing"});
  };
  if (after != nullptr) {
    for (const auto& name : after->disk_names) keep(name);
  } else {
    for (const auto& disk : old) keep(disk.name);
  }
}

void fill_disks(api::VirtualMachineStatus& status, const Observed& observed, const actuators::Sidecar* after) {
  const auto old = std::exchange(status.disks, {});
  for (const auto& disk : observed.host.disks) {
    auto& next = status.disks.emplace_back();
    next = {.name = disk.name, .path = disk.path, .size = disk.size};
    if (disk.name != "root") continue;
    next.backend = disk.backend;
    if (after != nullptr && !after->root_backend.empty()) next.backend = after->root_backend;
    if (after != nullptr) next.backend_reason = after->root_backend_reason;
    if (disk.backend == "dm-snapshot") fill_root_disk(next, observed.host);
    if (next.size.value == 0 && after != nullptr) next.size = after->root_size;
  }
  keep_missing_disks(status, old, observed, after);
}

// What vm.json names.
void fill_runtime(api::VirtualMachineStatus& status, const actuators::Sidecar* after) {
  status.runtime.reset();
  if (after == nullptr) return;
  auto& runtime = status.runtime.emplace();
  for (const auto& nic : after->nics) {
    if (!nic.tap.empty()) runtime.taps.push_back(nic.tap);
    runtime.macs.push_back(nic.mac);
    runtime.addresses.push_back(nic.address);
  }
  runtime.loops = after->loop_files;
  runtime.dm = after->dm_name;
  if (after->process)
    runtime.process = api::ProcessStatus{.pid = after->process->pid,
                                         .start_time_ticks = after->process->start_time_ticks,
                                         .exe = after->process->exe,
                                         .socket = after->process->socket};
}

void fill_vmm(api::VirtualMachineStatus& status, const Observed& observed) {
  status.vmm.reset();
  const auto& view = observed.host.vmm;
  if (!view.vmm) return;
  status.vmm = api::VmmStatus{.driver = view.driver,
                              .version = view.version,
                              .accelerator = view.accelerator,
                              .accelerator_reason = view.accelerator_reason,
                              .pid = view.vmm->pid,
                              .start_time_ticks = view.vmm->start_time_ticks,
                              .socket = view.socket,
                              .started = observed.host.sidecar ? observed.host.sidecar->launched : std::nullopt};
}

void fill_ssh(api::VirtualMachineStatus& status, const api::Object& object, const Observed& observed) {
  status.ssh.reset();
  const auto& spec = std::get<api::VirtualMachine>(object.body).spec;
  const auto& sidecar = observed.host.sidecar;
  if (!sidecar || sidecar->nics.empty()) return;
  const auto& ssh = sidecar->launches > 0 ? sidecar->launched_spec.ssh : spec.ssh;
  if (!ssh) return;
  const auto& address = sidecar->nics.front().address;
  status.ssh = api::SshStatus{.user = ssh->user,
                              .address = address.substr(0, address.find('/')),
                              .port = ssh->port,
                              .identity_file = actuators::client_key_path(observed.layout).string(),
                              .known_hosts_file = actuators::known_hosts_path(observed.layout, object.meta.uid).string()};
}

void fill_history(api::VirtualMachineStatus& status, const Observed& observed, const actuators::Sidecar* after) {
  const auto& sidecar = observed.host.sidecar;
  if (after != nullptr) {
    status.launches = std::max(status.launches, static_cast<std::int64_t>(after->launches));
    status.restart_count = static_cast<std::int64_t>(after->restarts);
    status.restart_after = after->restart_after;
  }
  // A kill that was asked for is no news; everything else that is on record is.
  const auto& exit = observed.host.vmm.exit;
  const bool on_purpose = sidecar && sidecar->ended == kEndedOnPurpose;
  const bool lost_in_reboot = sidecar && !exit && !is_alive(observed.host.vmm) && sidecar->launches > 0 &&
                              sidecar->ended.empty() && sidecar->boot_id != observed.host.boot_id;
  if (exit && !on_purpose) {
    const bool ours = sidecar && !sidecar->ended.empty() && exit->reason == "Killed";
    status.last_termination = api::TerminationStatus{.reason = ours ? sidecar->ended : exit->reason,
                                                     .exit_code = exit->exit_code,
                                                     .signal = exit->signal,
                                                     .finished = exit->finished,
                                                     .message = printable(exit->message)};
  } else if (lost_in_reboot) {
    status.last_termination = api::TerminationStatus{
        .reason = "Unknown", .exit_code = 0, .signal = 0, .finished = {}, .message = "the host was restarted"};
  }
}

void tell(std::vector<Finding>& findings, const std::vector<PassedOver>& failures) {
  for (const auto& failure : failures) {
    const auto message = printable(failure.message);
    const auto found = std::ranges::find(findings, failure.condition, &Finding::type);
    if (found != findings.end()) {
      found->message += "; that failed: " + message;
    } else {
      findings.push_back({.type = failure.condition, .reason = "StepFailed", .message = message});
    }
  }
}

// What went wrong in this pass, or in one before while the start is tried again: it is shown until the start gets further.
std::optional<Finding> failure_of(const api::VirtualMachineStatus& old, const Plan& plan, const AppliedSteps& applied) {
  Finding failure{.type = "Ready", .status = api::ConditionStatus::False, .reason = "StepFailed", .message = ""};
  if (applied.error) {
    if (applied.error->message.find("NameConflict: ") != std::string::npos) failure.reason = "NameConflict";
    failure.message = fmt::format("{}: {}", applied.failed, failure_message(applied));
    return failure;
  }
  if (plan.error) {
    failure.message = printable(plan.error->message);
    return failure;
  }
  const auto ready = std::ranges::find(plan.findings, "Ready", &Finding::type);
  const auto* before = api::find_condition(old.conditions, "Ready");
  const bool trying = ready != plan.findings.end() && ready->reason == "Starting" && !old.vmm;
  if (!trying || before == nullptr || before->reason != "StepFailed") return std::nullopt;
  failure.message = before->message;
  return failure;
}

}  // namespace

std::vector<api::StepStatus> merge_steps(const api::VirtualMachineStatus& old, const Plan& plan, const AppliedSteps& applied) {
  if (plan.operation == Operation::None) return old.steps;
  auto steps = shown(plan, applied);
  if (steps.empty() && plan.progress.empty()) return old.steps;
  auto merged = continues(old, plan) ? old.steps : std::vector<api::StepStatus>{};
  for (const auto& each : plan.progress) put(merged, each);
  for (auto& each : steps) put(merged, std::move(each));
  return merged;
}

std::string failure_message(const AppliedSteps& applied) {
  auto message = printable(applied.error->message);
  if (!applied.undo_errors.empty())
    message += fmt::format(" (undoing it failed too: {})", printable(join(applied.undo_errors, "; ")));
  return message;
}

api::VirtualMachineStatus status_of(const api::Object& object, const Observed& observed, const Plan& plan,
                                    const AppliedSteps& applied) {
  const auto& old = std::get<api::VirtualMachine>(object.body).status;
  auto status = old;
  status.observed_generation = object.meta.generation;
  status.phase = plan.phase;
  const auto* after = sidecar_after(observed, plan, applied);
  fill_interfaces(status, after);
  fill_disks(status, observed, after);
  fill_runtime(status, after);
  fill_vmm(status, observed);
  fill_ssh(status, object, observed);
  fill_history(status, observed, after);
  status.pending_changes = plan.pending;
  status.steps = merge_steps(old, plan, applied);
  status.kernel_objects = kernel_objects(object, observed, plan);

  auto findings = plan.findings;
  tell(findings, applied.passed_over);
  if (const auto failure = failure_of(old, plan, applied)) {
    std::erase_if(findings, [](const Finding& finding) { return finding.type == "Ready"; });
    if (failure->reason == "NameConflict")
      findings.push_back({.type = "NameConflict", .reason = "ForeignObject", .message = failure->message});
    findings.push_back(*failure);
  }
  set_findings(status.conditions, findings, {"CleanShutdown"}, object.meta.generation, observed.now);
  return status;
}

}  // namespace banger::reconcilers::virtual_machine
