// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/network/reconciler.hpp"

#include "reconcilers/network/observe.hpp"
#include "reconcilers/network/plan.hpp"
#include "reconcilers/network/status.hpp"

namespace banger::reconcilers::network {

Outcome NetworkReconciler::reconcile(const api::ObjectKey& key) {
  const auto network = ports_.objects.store().get(key);
  if (!network) return network.error().code == ErrorCode::NotFound ? Outcome{} : outcome_of(network.error(), {}, 0);
  const auto observed = observe(ports_, *network);
  if (!observed) return outcome_of(observed.error(), {}, 0);
  const auto plan = plan_for(*network, *observed);
  const auto finalized = change_finalizer(ports_.objects, *network, plan.finalizer);
  if (!finalized) return outcome_of(finalized.error(), {}, 0);
  if (plan.finalizer == FinalizerChange::Remove) return {};
  const auto applied = apply_steps(ports_.host, ports_.clock, plan.steps);

  record(ports_.events, *network, plan.events);
  if (applied.error)
    record(ports_.events, *network, {{api::EventType::Warning, applied.failed + "Failed", applied.error->message}});
  auto next = *network;
  std::get<api::Network>(next.body).status = status_of(*network, *observed, plan, applied);
  const auto written = write_status(ports_.objects, *network, next);
  if (!applied.error && !written) return outcome_of(written.error(), {}, applied);
  return outcome_of(applied.error, plan.look_again, applied);
}

std::vector<api::ObjectKey> NetworkReconciler::affected_by(const store::Change& change) {
  const auto kind = api::kind_of(change.object);
  if (kind == api::Kind::AddressLease && change.type == store::ChangeType::Deleted) {
    // It may be the last address of a network that is being deleted. Any other does not care, and a pass reads every link.
    const auto& name = std::get<api::AddressLease>(change.object.body).spec.network;
    const auto network = ports_.objects.store().get({.kind = api::Kind::Network, .ns = "", .name = name});
    if (!network || !network->meta.deletion_time) return {};
    return {api::key_of(*network)};
  }
  if (kind != api::Kind::Network || change.type != store::ChangeType::Deleted) return {};
  // A range became free: networks that conflicted with it.
  std::vector<api::ObjectKey> keys;
  for (const auto& network : list_all(ports_.objects, api::Kind::Network)) {
    if (api::find_condition(std::get<api::Network>(network.body).status.conditions, "CidrConflict") != nullptr)
      keys.push_back(api::key_of(network));
  }
  return keys;
}

std::vector<api::ObjectKey> NetworkReconciler::drifted(const actuators::HostView& host) {
  std::vector<api::ObjectKey> keys;
  const auto networks = list_all(ports_.objects, api::Kind::Network);
  for (const auto& network : networks) {
    const auto slice = host.networks.find(network.meta.uid);
    // One that is being deleted looks again by itself.
    if (slice == host.networks.end() || network.meta.deletion_time) continue;
    Observed observed{.now = ports_.clock.wall(), .host = slice->second, .others = {}, .users = {}};
    for (const auto& other : networks) {
      if (other.meta.name != network.meta.name)
        observed.others.push_back({.name = other.meta.name, .cidr = std::get<api::Network>(other.body).status.cidr});
    }
    const auto plan = plan_for(network, observed);
    if (!plan.steps.empty() || plan.finalizer != FinalizerChange::Keep) keys.push_back(api::key_of(network));
  }
  return keys;
}

}  // namespace banger::reconcilers::network
