// SPDX-License-Identifier: Apache-2.0
// All that a Kernel's plan looks at beside the object itself.
#pragma once

#include "actuators/host.hpp"
#include "base/clock.hpp"

namespace banger::reconcilers::kernel {

struct Observed {
  WallTime now;
  actuators::KernelView host;
  bool operator==(const Observed&) const = default;
};

}  // namespace banger::reconcilers::kernel
