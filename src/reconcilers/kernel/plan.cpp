// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/kernel/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "reconcilers/record.hpp"

namespace banger::reconcilers::kernel {
namespace {

using api::ConditionStatus;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr milliseconds kAtOnce{0};
constexpr milliseconds kJobCheck = seconds(2);      // its end wakes us earlier; not at rest (kAtRest)
constexpr milliseconds kPackageCheck = minutes(1);  // a newer package has no event that reaches us

Finding ready(ConditionStatus status, std::string reason, std::string message) {
  return {.type = "Ready", .status = status, .reason = std::move(reason), .message = std::move(message)};
}

std::string last_part(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') + 1));
}

// "vmlinuz-6.1.0-9" is 6.1.0-9; other names are their own version, unless the modules say better.
std::string version_of(const api::KernelSpec& spec) {
  if (!spec.modules_dir.empty()) return last_part(spec.modules_dir);
  auto name = last_part(spec.path);
  for (const std::string_view prefix : {"vmlinuz-", "vmlinux-", "bzImage-"}) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return name;
}

const actuators::JobView* initrd_job(const Observed& observed) {
  const auto found = std::ranges::find(observed.host.jobs, "initrd", [](const auto& job) { return job.key.name; });
  return found == observed.host.jobs.end() ? nullptr : &*found;
}

bool was_built(const Observed& observed, const std::string& path) {
  return !path.empty() &&
         std::ranges::any_of(observed.host.built, [&](const auto& file) { return file.exists && file.path == path; });
}

void forget(Plan& plan, const api::Object& object) {
  plan.steps.push_back(
      {.name = "ForgetInitrd", .step = actuators::ForgetJob{{.owner_uid = object.meta.uid, .name = "initrd"}}, .undo = {}});
}

void found_ready(Plan& plan) {
  plan.findings.push_back(ready(ConditionStatus::True, "Ready", "kernel " + printable(plan.version)));
  plan.look_again = kPackageCheck;
}

void plan_initrd(Plan& plan, const api::Object& object, const Observed& observed, const std::string& modules_dir) {
  const auto& status = std::get<api::Kernel>(object.body).status;
  const auto* job = initrd_job(observed);
  const actuators::BuildInitrd spec{.kernel_uid = object.meta.uid, .modules_dir = modules_dir};
  const bool current = job != nullptr && job->spec == actuators::JobSpec(spec);
  const bool same =
      status.observed_generation == object.meta.generation && status.version == plan.version && status.path == plan.path;
  if (same && was_built(observed, status.initrd)) {
    plan.initrd = status.initrd;
    found_ready(plan);
    return;
  }
  const auto making =
      ready(ConditionStatus::False, "BuildingInitrd", fmt::format("the initrd for {} is being made", printable(plan.version)));
  if (job != nullptr && job->state == actuators::JobState::Running) {
    plan.findings.push_back(making);
    plan.look_again = kJobCheck;
  } else if (current && job->state == actuators::JobState::Done && was_built(observed, job->result)) {
    plan.initrd = job->result;
    plan.events.push_back({.type = api::EventType::Normal, .reason = "Ready", .message = "kernel " + printable(plan.version)});
    found_ready(plan);
  } else if (current && job->state == actuators::JobState::Failed) {
    plan.error = job->error.value_or(internal("making the initrd failed and does not say why"));
    forget(plan, object);
    plan.findings.push_back(ready(ConditionStatus::False, "InitrdFailed", plan.error->message));
    plan.events.push_back({.type = api::EventType::Warning, .reason = "InitrdFailed", .message = plan.error->message});
  } else {
    if (job != nullptr) forget(plan, object);
    plan.steps.push_back({.name = "Initrd",
                          .step = actuators::StartJob{.key = {.owner_uid = object.meta.uid, .name = "initrd"}, .spec = spec},
                          .undo = {}});
    plan.findings.push_back(making);
    plan.look_again = kAtOnce;
  }
}

std::optional<Finding> problem_of_files(const std::string& path, const std::string& initrd, const actuators::KernelView& host) {
  const auto absent = [](std::string reason, const std::string& file) {
    return ready(ConditionStatus::False, std::move(reason), printable(file) + ": there is no such file on this host");
  };
  if (!host.kernel.exists) return absent("KernelNotFound", path);
  if (!host.boots)
    return ready(ConditionStatus::False, "NotAKernel",
                 printable(path) + ": this is no kernel: it is neither an ELF vmlinux nor a bzImage (\"HdrS\" at 0x202)");
  if (!initrd.empty() && !host.initrd.exists) return absent("InitrdNotFound", initrd);
  return std::nullopt;
}

Plan plan_deletion(const api::Object& object, const Observed& observed) {
  const auto& status = std::get<api::Kernel>(object.body).status;
  Plan plan{.version = status.version, .path = status.path, .initrd = status.initrd};
  if (initrd_job(observed) != nullptr) forget(plan, object);
  if (observed.host.directory_exists || !observed.host.built.empty())
    plan.steps.push_back({.name = "Directory", .step = actuators::RemoveKernelDirectory{object.meta.uid}, .undo = {}});
  if (plan.steps.empty()) {
    plan.finalizer = FinalizerChange::Remove;
  } else {
    plan.findings.push_back(ready(ConditionStatus::False, "Deleting", "its files are being removed"));
    plan.look_again = kAtOnce;
  }
  return plan;
}

}  // namespace

Plan plan_for(const api::Object& object, const Observed& observed) {
  if (object.meta.deletion_time) return plan_deletion(object, observed);
  const auto& spec = std::get<api::Kernel>(object.body).spec;
  Plan plan;
  if (!has_finalizer(object)) plan.finalizer = FinalizerChange::Add;
  plan_record(object, observed.host.record, plan.steps, plan.events);
  plan.look_again = seconds(30);
  std::string modules_dir = spec.modules_dir;
  if (spec.source == api::KernelSource::HostPackage) {
    if (observed.host.host_kernels.empty()) {
      plan.findings.push_back(
          ready(ConditionStatus::False, "NoKernelPackage",
                "no kernel package is installed on this host: install linux-image-cloud-amd64 (or linux-image-amd64)"));
      return plan;
    }
    const auto& newest = observed.host.host_kernels.front();
    plan.version = newest.version;
    plan.path = newest.path;
    modules_dir = newest.modules_dir;
  } else {
    plan.version = version_of(spec);
    plan.path = spec.path;
  }
  if (auto problem = problem_of_files(plan.path, spec.initrd, observed.host)) {
    plan.findings.push_back(*std::move(problem));
    return plan;
  }
  if (!spec.initrd.empty()) {
    plan.initrd = spec.initrd;
    found_ready(plan);
  } else {
    plan_initrd(plan, object, observed, modules_dir);
  }
  return plan;
}

}  // namespace banger::reconcilers::kernel
