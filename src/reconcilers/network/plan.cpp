// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/network/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "base/inet.hpp"
#include "base/text.hpp"
#include "reconcilers/network/observe.hpp"
#include "reconcilers/record.hpp"

namespace banger::reconcilers::network {
namespace {

using api::ConditionStatus;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kAtOnce{0};
constexpr milliseconds kSlowly = seconds(30);

struct Choice {
  std::optional<Cidr> cidr;
  std::string conflict;  // why not, as a sentence
};

const actuators::LinkView* link_named(const Observed& observed, const std::string& name) {
  const auto found = std::ranges::find(observed.host.links, name, &actuators::LinkView::name);
  return found == observed.host.links.end() ? nullptr : &*found;
}

bool is_ours(const actuators::LinkView& link, const std::string& uid) { return link.owner == uid; }

// Routes to everywhere overlap with everything and say nothing; those through our own links are ours.
const actuators::RouteView* overlapping_route(const Observed& observed, Cidr cidr) {
  for (const auto& route : observed.host.routes) {
    if (route.destination.prefix == 0 || !overlaps(route.destination, cidr)) continue;
    const auto* link = link_named(observed, route.link);
    if (link == nullptr || !is_ours(*link, observed.host.uid)) return &route;
  }
  return nullptr;
}

const OtherNetwork* overlapping_network(const Observed& observed, Cidr cidr) {
  for (const auto& other : observed.others) {
    const auto theirs = parse_cidr(other.cidr);
    if (theirs && overlaps(*theirs, cidr)) return &other;
  }
  return nullptr;
}

std::string conflict_of(const Observed& observed, Cidr cidr) {
  if (const auto* other = overlapping_network(observed, cidr))
    return fmt::format("{} overlaps with {} of the Network {}", to_string(cidr), other->cidr, other->name);
  if (const auto* route = overlapping_route(observed, cidr))
    return fmt::format("{} overlaps with the host's route {} on link {}", to_string(cidr), to_string(route->destination),
                       printable(route->link));
  return {};
}

// The first /24 of 10.63.0.0/16 that neither the host nor another Network uses.
Choice pick(const Observed& observed) {
  const auto base = *parse_ipv4("10.63.0.0");
  std::string last;
  for (std::uint32_t i = 0; i < 256; ++i) {
    const Cidr candidate{.address = {base.value + (i << 8U)}, .prefix = 24};
    last = conflict_of(observed, candidate);
    if (last.empty()) return {.cidr = candidate, .conflict = ""};
  }
  return {.cidr = std::nullopt, .conflict = "no /24 of 10.63.0.0/16 is free (" + last + "): set spec.cidr"};
}

// What was picked before; a status that was lost is read off the bridge that stands on it.
std::optional<Cidr> made_or_recorded(const api::Network& network, const Observed& observed, const actuators::LinkView* bridge) {
  if (auto recorded = parse_cidr(network.status.cidr)) return recorded;
  if (bridge == nullptr || !is_ours(*bridge, observed.host.uid) || bridge->addresses.size() != 1) return std::nullopt;
  const auto made = parse_cidr(bridge->addresses.front());
  if (!made) return std::nullopt;
  return network_of(*made);
}

// What was given, what was picked before, or a new pick.
Choice choose(const api::Network& network, const Observed& observed, const actuators::LinkView* bridge) {
  const bool made = bridge != nullptr && !bridge->addresses.empty();
  const auto given = parse_cidr(network.spec.cidr);
  if (given) return {.cidr = network_of(*given), .conflict = conflict_of(observed, network_of(*given))};
  const auto kept = made_or_recorded(network, observed, bridge);
  if (!kept) return pick(observed);
  const auto conflict = conflict_of(observed, *kept);
  // Nothing stands on it yet: another one costs nothing.
  if (!conflict.empty() && !made) return pick(observed);
  return {.cidr = kept, .conflict = conflict};
}

std::string gateway_of(const api::NetworkSpec& spec, Cidr cidr) {
  return spec.gateway.empty() ? to_string(Ipv4{cidr.address.value + 1}) : spec.gateway;
}

void wait(Plan& plan, std::string reason, std::string message) {
  plan.findings.push_back(
      {.type = "Ready", .status = ConditionStatus::False, .reason = std::move(reason), .message = std::move(message)});
}

Plan plan_deletion(const api::Object& object, const Observed& observed) {
  const auto& status = std::get<api::Network>(object.body).status;
  Plan plan{.cidr = status.cidr, .gateway = status.gateway, .bridge = status.bridge};
  if (!observed.users.empty()) {
    wait(plan, "InUse", fmt::format("waits until its addresses are free: {}", join(observed.users, ", ")));
    plan_record(object, observed.host.record, plan.steps, plan.events);
    plan.look_again = kSlowly;
    return plan;
  }
  const auto& uid = object.meta.uid;
  if (observed.host.nat && observed.host.nat->owner == uid)
    plan.steps.push_back({.name = "Nat", .step = actuators::RemoveNat{uid, observed.host.nat->table}, .undo = {}});
  for (const auto& link : observed.host.links) {
    if (is_ours(link, uid)) plan.steps.push_back({.name = "Bridge", .step = actuators::RemoveLink{uid, link.name}, .undo = {}});
  }
  // Last: it is what is left of the network when the database is lost.
  if (observed.host.directory_exists)
    plan.steps.push_back({.name = "Directory", .step = actuators::RemoveNetworkDirectory{uid}, .undo = {}});
  if (plan.steps.empty()) {
    plan.finalizer = FinalizerChange::Remove;
  } else {
    wait(plan, "Deleting", "its bridge and address translation are being removed");
    plan.look_again = kAtOnce;
  }
  return plan;
}

// Foreign objects that bear a name we need.
std::string name_conflict(const api::Object& object, const Observed& observed, const std::string& bridge) {
  const auto* link = link_named(observed, bridge);
  if (link != nullptr && !is_ours(*link, object.meta.uid))
    return fmt::format("the link {} exists and is not ours ({}); it is left as it is", bridge,
                       link->alias.empty() ? "it has no label" : "its label is \"" + printable(link->alias) + "\"");
  const bool wants_nat = std::get<api::Network>(object.body).spec.nat == api::NatMode::Enabled;
  if (wants_nat && observed.host.nat && observed.host.nat->owner != object.meta.uid)
    return fmt::format("the nft table {} exists and is not ours; it is left as it is", observed.host.nat->table);
  return {};
}

void plan_bridge(Plan& plan, const api::Object& object, const Observed& observed, std::uint8_t prefix) {
  const auto& spec = std::get<api::Network>(object.body).spec;
  const auto address = fmt::format("{}/{}", plan.gateway, prefix);
  for (const auto& link : observed.host.links) {
    if (link.name != plan.bridge && is_ours(link, object.meta.uid))
      plan.steps.push_back({.name = "OldBridge", .step = actuators::RemoveLink{object.meta.uid, link.name}, .undo = {}});
  }
  const auto* link = link_named(observed, plan.bridge);
  if (link != nullptr && link->up && link->mtu == spec.mtu && link->addresses == std::vector{address}) return;
  plan.steps.push_back({.name = "Bridge",
                        .step = actuators::MakeBridge{.network_uid = object.meta.uid,
                                                      .name = plan.bridge,
                                                      .address = address,
                                                      .mtu = spec.mtu,
                                                      .of = api::key_of(object)},
                        .undo = {}});
}

void plan_nat(Plan& plan, const api::Object& object, const Observed& observed) {
  const auto& spec = std::get<api::Network>(object.body).spec;
  const auto table = actuators::nat_table_name(object.meta.uid);
  const auto& nat = observed.host.nat;
  const bool ours = nat && nat->owner == object.meta.uid;
  if (spec.nat == api::NatMode::Disabled) {
    if (ours) plan.steps.push_back({.name = "Nat", .step = actuators::RemoveNat{object.meta.uid, table}, .undo = {}});
    return;
  }
  if (ours && nat->bridge == plan.bridge && nat->cidr == plan.cidr && observed.host.forwarding) return;
  plan.steps.push_back({.name = "Nat",
                        .step = actuators::WriteNat{.network_uid = object.meta.uid,
                                                    .table = table,
                                                    .bridge = plan.bridge,
                                                    .cidr = plan.cidr,
                                                    .of = api::key_of(object)},
                        .undo = {}});
}

// Everything is chosen and recorded: make it, or find it made.
void plan_objects(Plan& plan, const api::Object& object, const Observed& observed, std::uint8_t prefix) {
  plan_bridge(plan, object, observed, prefix);
  plan_nat(plan, object, observed);
  const bool making = !plan.steps.empty();
  plan_record(object, observed.host.record, plan.steps, plan.events);
  if (making) {
    wait(plan, "Making", fmt::format("bridge {} is being made", plan.bridge));
    plan.look_again = kAtOnce;
    return;
  }
  const bool nat = std::get<api::Network>(object.body).spec.nat == api::NatMode::Enabled;
  plan.findings.push_back({.type = "Ready",
                           .status = ConditionStatus::True,
                           .reason = "Ready",
                           .message = fmt::format("bridge {} has {}/{}; address translation is {}", plan.bridge, plan.gateway,
                                                  prefix, nat ? "on" : "off")});
}

}  // namespace

Plan plan_for(const api::Object& object, const Observed& observed) {
  if (object.meta.deletion_time) return plan_deletion(object, observed);
  const auto& network = std::get<api::Network>(object.body);
  Plan plan{.cidr = network.status.cidr, .gateway = network.status.gateway, .bridge = wanted_bridge(object)};
  if (!has_finalizer(object)) plan.finalizer = FinalizerChange::Add;

  if (auto conflict = name_conflict(object, observed, plan.bridge); !conflict.empty()) {
    plan.findings.push_back(
        {.type = "NameConflict", .status = ConditionStatus::True, .reason = "ForeignObject", .message = conflict});
    plan.events.push_back({.type = api::EventType::Warning, .reason = "NameConflict", .message = conflict});
    wait(plan, "NameConflict", std::move(conflict));
    plan.look_again = kSlowly;
    return plan;
  }
  const auto* bridge = link_named(observed, plan.bridge);
  const auto choice = choose(network, observed, bridge);
  if (!choice.conflict.empty()) {
    plan.findings.push_back(
        {.type = "CidrConflict", .status = ConditionStatus::True, .reason = "Overlap", .message = choice.conflict});
    // A bridge that carries guests stays, whoever came second.
    const bool carries = bridge != nullptr && choice.cidr && network.status.cidr == to_string(*choice.cidr);
    if (!carries) {
      plan.events.push_back({.type = api::EventType::Warning, .reason = "CidrConflict", .message = choice.conflict});
      wait(plan, "CidrConflict", choice.conflict);
      plan.look_again = kSlowly;
      return plan;
    }
  }
  plan.cidr = to_string(*choice.cidr);
  plan.gateway = gateway_of(network.spec, *choice.cidr);
  const auto& status = network.status;
  const bool recorded = status.cidr == plan.cidr && status.gateway == plan.gateway && status.bridge == plan.bridge;
  if (!recorded || plan.finalizer == FinalizerChange::Add) {
    wait(plan, "Making", fmt::format("takes {}", plan.cidr));
    plan.look_again = kAtOnce;  // intent first: what it takes is written down before anything is made
    return plan;
  }
  plan_objects(plan, object, observed, choice.cidr->prefix);
  return plan;
}

}  // namespace banger::reconcilers::network
