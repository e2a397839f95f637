// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/image/status.hpp"

namespace banger::reconcilers::image {

api::ImageStatus status_of(const api::Object& object, const Observed& observed, const Plan& plan, const AppliedSteps& applied) {
  auto status = std::get<api::Image>(object.body).status;
  status.observed_generation = object.meta.generation;
  if (!applied.error) status.source = plan.source;
  if (plan.built) {
    status.path = plan.built->path;
    status.digest = plan.built->digest;
    status.format = plan.built->format;
    status.size = plan.built->size;
  }
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

}  // namespace banger::reconcilers::image
