// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/kernel/status.hpp"

namespace banger::reconcilers::kernel {

api::KernelStatus status_of(const api::Object& object, const Observed& observed, const Plan& plan, const AppliedSteps& applied) {
  auto status = std::get<api::Kernel>(object.body).status;
  status.observed_generation = object.meta.generation;
  status.version = plan.version;
  status.path = plan.path;
  status.initrd = plan.initrd;
  auto findings = plan.findings;
  if (applied.error) {
    findings = {{.type = "Ready",
                 .status = api::ConditionStatus::False,
                 .reason = applied.failed + "Failed",
                 .message = applied.error->message}};
  }
  set_findings(status.conditions, findings, {}, object.meta.generation, observed.now);
  return status;
}

}  // namespace banger::reconcilers::kernel
