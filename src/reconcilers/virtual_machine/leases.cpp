// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/leases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "actuators/names.hpp"
#include "base/fnv1a.hpp"
#include "base/inet.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using api::AddressLeaseSpec;

struct Range {
  Cidr cidr;
  std::uint32_t first = 0;  // of the addresses that guests may have
  std::uint32_t count = 0;
};

Range range_of(const NetworkFacts& network) {
  const auto cidr = network_of(*parse_cidr(network.cidr));
  const auto size = std::uint64_t{1} << (32U - cidr.prefix);
  return {.cidr = cidr, .first = cidr.address.value + 1, .count = static_cast<std::uint32_t>(size > 2 ? size - 2 : 0)};
}

bool is_usable(const Range& range, const NetworkFacts& network, Ipv4 address) {
  if (address.value < range.first || address.value - range.first >= range.count) return false;
  return to_string(address) != network.gateway;
}

bool fits(const AddressLeaseSpec& lease, const api::NetworkInterfaceSpec& wanted, const NetworkFacts& network) {
  const auto address = parse_ipv4(lease.address);
  if (lease.network != wanted.network || !address || !is_usable(range_of(network), network, *address)) return false;
  return !wanted.address || *wanted.address == lease.address;
}

Finding conflict(std::string message) {
  return {.type = "AddressConflict",
          .status = api::ConditionStatus::True,
          .reason = "AddressConflict",
          .message = std::move(message)};
}

class LeasePlanner {
 public:
  LeasePlanner(const api::Object& vm, const Context& context, const actuators::Sidecar* sidecar)
      : vm_(vm), observed_(context), sidecar_(sidecar) {
    for (const auto& lease : context.leases) taken_.insert({lease.network, lease.address});
  }

  LeasePlan run() {
    LeasePlan plan;
    const auto& wanted = std::get<api::VirtualMachine>(vm_.body).spec.network_interfaces;
    std::vector<std::optional<std::string>> addresses(wanted.size());
    for (const auto& lease : observed_.leases) {
      if (lease.vm_uid != vm_.meta.uid) continue;
      const auto index = static_cast<std::size_t>(lease.interface_index);
      const bool keep = lease.interface_index >= 0 && index < wanted.size() && !addresses[index] &&
                        fits(lease, wanted[index], network_named(observed_, wanted[index].network));
      if (keep) {
        addresses[index] = lease.address;
      } else {
        plan.releases.push_back(lease);
      }
    }
    // A fixed address may be one that another interface of ours gives up: first give up, then claim.
    if (!plan.releases.empty()) return plan;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (!addresses[i] && !claim(wanted[i], i, plan)) return {.claims = {}, .releases = {}, .nics = {}, .problem = problem_};
    }
    if (plan.claims.empty()) {
      for (std::size_t i = 0; i < wanted.size(); ++i) plan.nics.push_back(record(wanted[i], i, *addresses[i]));
    }
    return plan;
  }

 private:
  bool claim(const api::NetworkInterfaceSpec& wanted, std::size_t index, LeasePlan& plan) {
    const auto& network = network_named(observed_, wanted.network);
    const auto address = wanted.address ? fixed(wanted, network) : next_free(wanted, network, index);
    if (!address) return false;
    taken_.insert({wanted.network, *address});
    plan.claims.push_back({.network = wanted.network,
                           .address = *address,
                           .vm_uid = vm_.meta.uid,
                           .vm_namespace = vm_.meta.ns,
                           .vm_name = vm_.meta.name,
                           .interface_index = static_cast<std::int64_t>(index)});
    return true;
  }

  std::optional<std::string> fixed(const api::NetworkInterfaceSpec& wanted, const NetworkFacts& network) {
    const auto address = parse_ipv4(*wanted.address);
    if (!address || !is_usable(range_of(network), network, *address)) {
      problem_ = conflict(fmt::format("{} is not an address for guests of the Network {} ({}, gateway {})", *wanted.address,
                                      wanted.network, network.cidr, network.gateway));
      return std::nullopt;
    }
    for (const auto& lease : observed_.leases) {
      if (lease.network != wanted.network || lease.address != *wanted.address) continue;
      problem_ = conflict(fmt::format("{} of the Network {} is leased to {}/{}", lease.address, lease.network, lease.vm_namespace,
                                      lease.vm_name));
      return std::nullopt;
    }
    if (taken_.contains({wanted.network, *wanted.address})) {
      problem_ = conflict(fmt::format("two interfaces of this VM ask for {}", *wanted.address));
      return std::nullopt;
    }
    return wanted.address;
  }

  std::optional<std::string> next_free(const api::NetworkInterfaceSpec& wanted, const NetworkFacts& network, std::size_t index) {
    const auto range = range_of(network);
    auto seed = vm_.meta.ns + "/" + vm_.meta.name;
    if (index > 0) seed += fmt::format("/{}", index);
    const auto start = range.count == 0 ? 0 : fnv1a(kFnv1aStart, seed) % range.count;
    for (std::uint64_t i = 0; i < range.count; ++i) {
      const Ipv4 candidate{range.first + static_cast<std::uint32_t>((start + i) % range.count)};
      auto text = to_string(candidate);
      if (text != network.gateway && !taken_.contains({wanted.network, text})) return text;
    }
    problem_ = Finding{.type = "AddressesExhausted",
                       .status = api::ConditionStatus::True,
                       .reason = "AddressesExhausted",
                       .message = fmt::format("every address of the Network {} ({}) is leased", wanted.network, network.cidr)};
    return std::nullopt;
  }

  actuators::NicRecord record(const api::NetworkInterfaceSpec& wanted, std::size_t index, const std::string& address) const {
    const auto& network = network_named(observed_, wanted.network);
    actuators::NicRecord nic{.network = wanted.network,
                             .network_uid = network.uid,
                             .tap = actuators::tap_name(vm_.meta.uid, index),
                             .mac = actuators::mac_of(vm_.meta.uid, index),
                             .address = fmt::format("{}/{}", address, parse_cidr(network.cidr)->prefix),
                             .gateway = network.gateway};
    if (sidecar_ == nullptr) return nic;
    for (const auto& old : sidecar_->nics) {
      if (old.tap == nic.tap) nic.tap_index = old.tap_index;
    }
    return nic;
  }

  const api::Object& vm_;
  const Context& observed_;
  const actuators::Sidecar* sidecar_;
  std::set<std::pair<std::string, std::string>> taken_;
  std::optional<Finding> problem_;
};

}  // namespace

LeasePlan plan_leases(const api::Object& vm, const Context& context, const actuators::Sidecar* sidecar) {
  return LeasePlanner(vm, context, sidecar).run();
}

}  // namespace banger::reconcilers::virtual_machine
