// SPDX-License-Identifier: Apache-2.0
// Rows of Network and AddressLease.
#include <array>

#include "api/rows.hpp"

namespace banger::api::schema {

template <>
std::span<const std::string_view> spellings_of<NatMode>() {
  static constexpr std::array<std::string_view, 2> kSpellings{"Enabled", "Disabled"};
  return kSpellings;
}

template <>
std::span<const Field> fields_of<NetworkSpec>() {
  static const Field kRows[] = {
      {.name = "cidr",
       .member = member<&NetworkSpec::cidr>(),
       .doc = "the network's addresses, /8 to /29",
       .format = Format::NetworkCidr,
       .default_text = "the first free /24 of 10.63.0.0/16, taken once and kept",
       .update = UpdateClass::Immutable},
      {.name = "gateway",
       .member = member<&NetworkSpec::gateway>(),
       .doc = "the host's own address in the network, set on the bridge",
       .format = Format::Ipv4,
       .default_text = "the first address",
       .update = UpdateClass::Immutable},
      {.name = "bridge",
       .member = member<&NetworkSpec::bridge>(),
       .doc = "name of the bridge; it is made if absent, and a foreign one of that name is never taken over",
       .format = Format::LinkName,
       .default_text = "named by bangerd",
       .update = UpdateClass::Immutable},
      {.name = "mtu",
       .member = member<&NetworkSpec::mtu>(),
       .doc = "largest packet of the bridge and its taps in bytes; guests see it at their next start",
       .min = 576,
       .max = 9000},
      {.name = "nat", .member = member<&NetworkSpec::nat>(), .doc = "whether guests reach the outside under the host's address"},
      {.name = "nameservers",
       .member = member<&NetworkSpec::nameservers>(),
       .doc = "resolvers for guests, seen at their next start",
       .format = Format::Ipv4,
       .max_items = 3,
       .default_text = "the host's, without loopback addresses"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<NetworkStatus>() {
  static const Field kRows[] = {
      {.name = "observedGeneration",
       .member = member<&NetworkStatus::observed_generation>(),
       .doc = "the generation that the status speaks of",
       .min = 0},
      {.name = "conditions",
       .member = member<&NetworkStatus::conditions>(),
       .doc = "Ready, NameConflict, CidrConflict",
       .list_key = "type"},
      {.name = "cidr", .member = member<&NetworkStatus::cidr>(), .doc = "the addresses in use"},
      {.name = "gateway", .member = member<&NetworkStatus::gateway>(), .doc = "the host's own address"},
      {.name = "bridge", .member = member<&NetworkStatus::bridge>(), .doc = "name of the bridge"},
      {.name = "mtu", .member = member<&NetworkStatus::mtu>(), .doc = "MTU of the bridge"},
      {.name = "nameservers", .member = member<&NetworkStatus::nameservers>(), .doc = "resolvers that guests are given"},
      {.name = "kernelObjects",
       .member = member<&NetworkStatus::kernel_objects>(),
       .doc = "what there is of it on the host, beside what should be"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<Network>() {
  static const Field kRows[] = {
      {.name = "spec", .member = member<&Network::spec>(), .doc = "what is asked for"},
      {.name = "status", .member = member<&Network::status>(), .doc = "what is known", .server_owned = true},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<AddressLeaseSpec>() {
  static const Field kRows[] = {
      {.name = "network",
       .member = member<&AddressLeaseSpec::network>(),
       .doc = "the Network",
       .required = true,
       .format = Format::DnsLabel},
      {.name = "address",
       .member = member<&AddressLeaseSpec::address>(),
       .doc = "the address that is taken",
       .required = true,
       .format = Format::Ipv4},
      {.name = "vmUid", .member = member<&AddressLeaseSpec::vm_uid>(), .doc = "uid of the VM that holds it"},
      {.name = "vmNamespace", .member = member<&AddressLeaseSpec::vm_namespace>(), .doc = "namespace of the VM"},
      {.name = "vmName", .member = member<&AddressLeaseSpec::vm_name>(), .doc = "name of the VM"},
      {.name = "interfaceIndex",
       .member = member<&AddressLeaseSpec::interface_index>(),
       .doc = "which of the VM's interfaces, from 0",
       .always = true,
       .min = 0,
       .max = 7},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<AddressLease>() {
  static const Field kRows[] = {
      {.name = "spec", .member = member<&AddressLease::spec>(), .doc = "who holds which address"},
  };
  return kRows;
}

}  // namespace banger::api::schema
