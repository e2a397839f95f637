// SPDX-License-Identifier: Apache-2.0
// The kinds that are reconciled, and the objects that exist from the start.
#pragma once

#include <memory>
#include <vector>

#include "actuators/names.hpp"
#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers {

// One a kind. What the ports refer to must outlive them.
std::vector<std::unique_ptr<Reconciler>> make_reconcilers(Ports ports, const actuators::Layout& layout);

// Creates Network `default` and Kernel `host` (the newest kernel package installed here) when they are not there.
Result<void> ensure_builtins(store::Objects& objects);

}  // namespace banger::reconcilers
