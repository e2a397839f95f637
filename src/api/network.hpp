// SPDX-License-Identifier: Apache-2.0
// Kind Network: a bridge of ours with an address range; and AddressLease: who holds which address.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/meta.hpp"

namespace banger::api {

enum class NatMode { Enabled, Disabled };

struct NetworkSpec {
  std::string cidr;         // "10.1.2.0/24", /8../29; empty: the first free /24 of 10.63.0.0/16 is taken once and kept in status
  std::string gateway;      // an address of the network, set on the bridge; empty: the first one
  std::string bridge;       // empty: named by us. Given: that name, made by us if absent, never taken over
  std::int64_t mtu = 1500;  // 576..9000
  NatMode nat = NatMode::Enabled;
  std::vector<std::string> nameservers;  // for guests; empty: the host's, without loopback addresses
  bool operator==(const NetworkSpec&) const = default;
};

struct NetworkStatus {
  std::uint64_t observed_generation = 0;
  std::vector<Condition> conditions;  // Ready, NameConflict, CidrConflict
  std::string cidr;
  std::string gateway;
  std::string bridge;
  std::int64_t mtu = 0;
  std::vector<std::string> nameservers;
  std::vector<KernelObjectStatus> kernel_objects;  // as last seen
  bool operator==(const NetworkStatus&) const = default;
};

struct Network {
  NetworkSpec spec;
  NetworkStatus status;
  bool operator==(const Network&) const = default;
};

// Its name is "<network>.<address>", so that the store's own rule (one object a name) makes double leases impossible. Written
// before the address is used, removed after the VM's kernel objects were seen to be gone.
struct AddressLeaseSpec {
  std::string network;
  std::string address;  // "10.1.2.3"
  std::string vm_uid;
  std::string vm_namespace;
  std::string vm_name;
  std::int64_t interface_index = 0;
  bool operator==(const AddressLeaseSpec&) const = default;
};

struct AddressLease {
  AddressLeaseSpec spec;
  bool operator==(const AddressLease&) const = default;
};

}  // namespace banger::api
