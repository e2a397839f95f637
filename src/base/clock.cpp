// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"

namespace banger {

WallTime SystemClock::wall() { return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now()); }

SteadyTime SystemClock::steady() {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now());
}

WallTime ManualClock::wall() {
  const std::scoped_lock lock(mutex_);
  return wall_;
}

SteadyTime ManualClock::steady() {
  const std::scoped_lock lock(mutex_);
  return steady_;
}

void ManualClock::advance(std::chrono::milliseconds by) {
  const std::scoped_lock lock(mutex_);
  wall_ += by;
  steady_ += by;
}

void ManualClock::jump_wall(std::chrono::milliseconds by) {
  const std::scoped_lock lock(mutex_);
  wall_ += by;
}

}  // namespace banger
