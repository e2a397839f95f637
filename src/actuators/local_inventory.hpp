// SPDX-License-Identifier: Apache-2.0
// Reads what this machine holds of ours: every class of things once, without running a program.
#pragma once

#include <string>

#include "actuators/inventory.hpp"
#include "actuators/net/net_actuator.hpp"
#include "actuators/vmm/machines.hpp"
#include "base/result.hpp"

namespace banger::actuators {

// Errors: those of the network namespace and of /proc. A machine without loop devices, device-mapper or cgroups has none of them.
Result<InventoryFacts> read_inventory(const Layout& layout, const std::string& instance, net::NetActuator& net,
                                      vmm::Machines& machines);

}  // namespace banger::actuators
