// SPDX-License-Identifier: Apache-2.0
// All that a VirtualMachine's plan looks at beside the object itself: values read in this pass, the time and a nonce included.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "api/network.hpp"
#include "base/clock.hpp"

namespace banger::reconcilers::virtual_machine {

// How far another object that the VM refers to is.
struct Readiness {
  bool found = false;
  bool ready = false;
  std::string message;  // of its Ready condition
  bool operator==(const Readiness&) const = default;
};

struct ImageFacts {
  Readiness state;
  std::string path;
  std::string digest;
  Bytes size;  // of its file system
  bool operator==(const ImageFacts&) const = default;
};

struct KernelFacts {
  Readiness state;
  std::string path;
  std::string initrd;
  std::vector<std::string> args;
  bool operator==(const KernelFacts&) const = default;
};

struct NetworkFacts {
  Readiness state;
  std::string uid;
  std::string cidr;
  std::string gateway;
  std::string bridge;
  std::int64_t mtu = 1500;
  std::vector<std::string> nameservers;
  bool operator==(const NetworkFacts&) const = default;
};

// What surrounds a VM.
struct Context {
  WallTime now;
  actuators::Layout layout;
  ImageFacts image;
  KernelFacts kernel;
  std::map<std::string, NetworkFacts>
      networks;  // by name, those that the spec names among them; one that is not there is not found
  // While the VMM lives, or when the sidecar's interfaces are those of the spec and hold their addresses: the leases of these
  // addresses, whoever holds them. Else: all of the spec's networks and all that this VM holds.
  std::vector<api::AddressLeaseSpec> leases;
  std::string fresh_nonce;  // 32 hexadecimal digits that nobody has seen
  bool operator==(const Context&) const = default;
};

struct Observed : Context {
  actuators::VmView host;
  bool operator==(const Observed&) const = default;
};

const NetworkFacts& network_named(const Context& context, const std::string& name);

}  // namespace banger::reconcilers::virtual_machine
