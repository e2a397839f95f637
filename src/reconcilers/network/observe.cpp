// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/network/observe.hpp"

#include <set>

#include "actuators/names.hpp"

namespace banger::reconcilers::network {

std::string wanted_bridge(const api::Object& network) {
  const auto& spec = std::get<api::Network>(network.body).spec;
  return spec.bridge.empty() ? actuators::bridge_name(network.meta.uid) : spec.bridge;
}

Result<Observed> observe(Ports& ports, const api::Object& network) {
  Observed observed{.now = ports.clock.wall(), .host = {}, .others = {}, .users = {}};
  BGR_TRY(observed.host, ports.host.observe_network({.uid = network.meta.uid, .bridge = wanted_bridge(network)}));
  BGR_TRY(const auto networks, ports.objects.store().list({.kind = api::Kind::Network, .ns = std::nullopt}));
  for (const auto& other : networks.objects) {
    if (other.meta.name == network.meta.name) continue;
    observed.others.push_back({.name = other.meta.name, .cidr = std::get<api::Network>(other.body).status.cidr});
  }
  if (!network.meta.deletion_time) return observed;
  BGR_TRY(const auto leases, ports.objects.store().list({.kind = api::Kind::AddressLease, .ns = std::nullopt}));
  std::set<std::string> users;
  for (const auto& object : leases.objects) {
    const auto& lease = std::get<api::AddressLease>(object.body).spec;
    if (lease.network == network.meta.name) users.insert(lease.vm_namespace + "/" + lease.vm_name);
  }
  observed.users.assign(users.begin(), users.end());
  return observed;
}

}  // namespace banger::reconcilers::network
