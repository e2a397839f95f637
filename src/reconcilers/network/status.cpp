// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/network/status.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "base/text.hpp"

namespace banger::reconcilers::network {
namespace {

const char* presence(bool there) { return there ? "present" : "absent"; }
constexpr const char* kNotOurs = "not made by bangerd, left alone";

api::KernelObjectStatus bridge_of(const api::Object& network, const Observed& observed, const Plan& plan) {
  api::KernelObjectStatus row{.type = "bridge",
                              .name = plan.bridge,
                              .desired = presence(!network.meta.deletion_time),
                              .observed = "absent",
                              .detail = ""};
  const auto link = std::ranges::find(observed.host.links, plan.bridge, &actuators::LinkView::name);
  if (link == observed.host.links.end()) return row;
  const bool ours = link->owner == network.meta.uid;
  row.observed = ours ? "present" : "foreign";
  row.detail = !ours ? kNotOurs
                     : fmt::format("{}, {}, mtu {}", link->up ? "up" : "down",
                                   link->addresses.empty() ? "no address" : join(link->addresses, ", "), link->mtu);
  return row;
}

api::KernelObjectStatus nat_of(const api::Object& network, const Observed& observed) {
  const auto& uid = network.meta.uid;
  const bool wanted = !network.meta.deletion_time && std::get<api::Network>(network.body).spec.nat == api::NatMode::Enabled;
  api::KernelObjectStatus row{.type = "nft table",
                              .name = actuators::nat_table_name(uid),
                              .desired = presence(wanted),
                              .observed = "absent",
                              .detail = ""};
  const auto& nat = observed.host.nat;
  if (!nat) return row;
  const bool ours = nat->owner == uid;
  row.observed = ours ? "present" : "foreign";
  row.detail = !ours                                      ? kNotOurs
               : nat->bridge.empty() || nat->cidr.empty() ? "its rules are not as bangerd writes them"
                                                          : fmt::format("masquerades {} behind {}", nat->cidr, nat->bridge);
  return row;
}

}  // namespace

api::NetworkStatus status_of(const api::Object& object, const Observed& observed, const Plan& plan, const AppliedSteps& applied) {
  const auto& network = std::get<api::Network>(object.body);
  auto status = network.status;
  status.observed_generation = object.meta.generation;
  status.cidr = plan.cidr;
  status.gateway = plan.gateway;
  status.bridge = plan.bridge;
  status.mtu = network.spec.mtu;
  status.nameservers = network.spec.nameservers.empty() ? observed.host.host_nameservers : network.spec.nameservers;
  status.kernel_objects = {bridge_of(object, observed, plan), nat_of(object, observed)};
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
