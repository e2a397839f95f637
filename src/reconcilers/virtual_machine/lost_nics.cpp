// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/lost_nics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "actuators/names.hpp"
#include "base/inet.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

bool is_in(const std::string& address, Cidr range) {
  const auto parsed = parse_ipv4(address);
  return parsed && overlaps({.address = *parsed, .prefix = 32}, range);
}

// The lease it holds, the address it was given, or one that its guest's host key was pinned under.
std::optional<std::string> address_of(const Situation& at, std::size_t index, Cidr range, const std::set<std::string>& taken) {
  const auto& wanted = at.spec.network_interfaces[index];
  for (const auto& lease : at.observed.leases) {
    if (lease.vm_uid == at.uid && lease.network == wanted.network && lease.interface_index == static_cast<std::int64_t>(index))
      return lease.address;
  }
  if (wanted.address) return wanted.address;
  const auto found = std::ranges::find_if(
      at.host.pinned_addresses, [&](const std::string& address) { return !taken.contains(address) && is_in(address, range); });
  if (found == at.host.pinned_addresses.end()) return std::nullopt;
  return *found;
}

}  // namespace

bool awaits_ranges(const Situation& at) {
  return at.vm.status.network_interfaces.empty() && std::ranges::any_of(at.spec.network_interfaces, [&](const auto& nic) {
           const auto network = at.observed.networks.find(nic.network);
           return network == at.observed.networks.end() || !parse_cidr(network->second.cidr);
         });
}

std::vector<actuators::NicRecord> lost_nics(const Situation& at) {
  std::vector<actuators::NicRecord> nics;
  std::set<std::string> taken;
  const auto& wanted = at.spec.network_interfaces;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto network = at.observed.networks.find(wanted[i].network);
    const auto range = network == at.observed.networks.end() ? std::nullopt : parse_cidr(network->second.cidr);
    const auto tap_name = actuators::tap_name(at.uid, i);
    const auto* tap = own_tap(at, tap_name);
    if (!range || tap == nullptr) break;
    const auto address = address_of(at, i, network_of(*range), taken);
    if (!address) break;
    taken.insert(*address);
    nics.push_back({.network = wanted[i].network,
                    .network_uid = network->second.uid,
                    .tap = tap_name,
                    .mac = actuators::mac_of(at.uid, i),
                    .address = fmt::format("{}/{}", *address, range->prefix),
                    .gateway = network->second.gateway,
                    .tap_index = tap->index});
  }
  return nics;
}

}  // namespace banger::reconcilers::virtual_machine
