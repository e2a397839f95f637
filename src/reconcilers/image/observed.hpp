// SPDX-License-Identifier: Apache-2.0
// All that an Image's plan looks at beside the object itself.
#pragma once

#include "actuators/host.hpp"
#include "base/clock.hpp"

namespace banger::reconcilers::image {

struct Observed {
  WallTime now;
  actuators::ImageView host;
  bool operator==(const Observed&) const = default;
};

}  // namespace banger::reconcilers::image
