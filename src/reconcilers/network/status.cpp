// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/network/status.hpp"

namespace banger::reconcilers::network {

api::NetworkStatus status_of(const api::Object& object, const Observed& observed, const Plan& plan, const AppliedSteps& applied) {
  const auto& network = std::get<api::Network>(object.body);
  auto status = network.status;
  status.observed_generation = object.meta.generation;
  status.cidr = plan.cidr;
  status.gateway = plan.gateway;
  status.bridge = plan.bridge;
  status.mtu = network.spec.mtu;
  status.nameservers = network.spec.nameservers.empty() ? observed.host.host_nameservers : network.spec.nameservers;
  auto findings = plan.findings;
  if (applied.error) {
    std::erase_if(findings, [](const Finding& finding) { return finding.type == "Ready"; });
    findings.push_back({.type = "Ready",
                        .status = api::ConditionStatus::False,
                        .reason = applied.failed + "Failed",
                        .message = applied.error->message});
  }
  set_findings(status.conditions, findings, {}, object.meta.generation, observed.now);
  return status;
}

}  // namespace banger::reconcilers::network
