// SPDX-License-Identifier: Apache-2.0
// The interfaces of a living VM whose record and status are both lost: what leases, spec, taps and the pinned host key still say.
#pragma once

#include <vector>

#include "actuators/sidecar.hpp"
#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {

// A network that the VM is on has no range yet: what its guest's address is can be told a moment later.
bool awaits_ranges(const Situation& at);

// Those that are known for certain, in the order of the spec; the first that is not ends them.
std::vector<actuators::NicRecord> lost_nics(const Situation& at);

}  // namespace banger::reconcilers::virtual_machine
