// SPDX-License-Identifier: Apache-2.0
// What the daemon says of itself: is it ready, when did it last look at the whole host.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/clock.hpp"

namespace banger::controller {

// Thread-safe.
class Health {
 public:
  // True once every object of every kind was enqueued after the start, until the manager stops.
  [[nodiscard]] bool ready() const { return ready_.load(); }
  void set_ready(bool ready) { ready_.store(ready); }

  // Of the last resync that read the host without an error.
  [[nodiscard]] std::optional<WallTime> last_resync() const {
    const std::int64_t at = last_resync_.load();
    if (at == kNever) return std::nullopt;
    return WallTime{std::chrono::milliseconds{at}};
  }
  void resynced(WallTime at) { last_resync_.store(at.time_since_epoch().count()); }

 private:
  static constexpr std::int64_t kNever = INT64_MIN;
  std::atomic<bool> ready_{false};
  std::atomic<std::int64_t> last_resync_{kNever};
};

}  // namespace banger::controller
