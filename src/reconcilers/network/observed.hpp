// SPDX-License-Identifier: Apache-2.0
// All that a Network's plan looks at beside the object itself.
#pragma once

#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "base/clock.hpp"

namespace banger::reconcilers::network {

struct OtherNetwork {
  std::string name;
  std::string cidr;  // as its status says; empty: none yet
  bool operator==(const OtherNetwork&) const = default;
};

struct Observed {
  WallTime now;
  actuators::NetworkView host;
  std::vector<OtherNetwork> others;
  std::vector<std::string> users;  // VMs that hold addresses of it: "default/web", sorted, each once
  bool operator==(const Observed&) const = default;
};

}  // namespace banger::reconcilers::network
