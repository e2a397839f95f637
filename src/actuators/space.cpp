// SPDX-License-Identifier: Apache-2.0
#include "actuators/space.hpp"

#include <sys/statvfs.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace banger::actuators {

SpaceLevel space_level(Bytes free, Bytes size) {
  if (free < std::min(Bytes{size.value / 100}, mib(32))) return SpaceLevel::Full;
  return free < std::min(Bytes{size.value / 20}, mib(1024)) ? SpaceLevel::Low : SpaceLevel::Plenty;
}

SpaceLevel look_at_space(const std::filesystem::path& path) {
  struct statvfs found{};
  if (::statvfs(path.c_str(), &found) != 0) return SpaceLevel::Plenty;
  const auto bytes = [&](fsblkcnt_t blocks) { return Bytes{static_cast<std::uint64_t>(blocks) * found.f_frsize}; };
  return space_level(bytes(found.f_bfree), bytes(found.f_blocks));  // VMMs run as root and may use the reserve
}

SpaceWatcher::SpaceWatcher(const std::filesystem::path& path, std::function<void(SpaceLevel)> on_change,
                           std::chrono::milliseconds period)
    : thread_([level = look_at_space(path), path, on_change = std::move(on_change), period](const std::stop_token& stop) mutable {
        std::mutex mutex;
        std::condition_variable_any nap;
        std::unique_lock lock(mutex);
        while (!stop.stop_requested()) {
          (void)nap.wait_for(lock, stop, period, [] { return false; });
          const auto now = look_at_space(path);
          if (now != std::exchange(level, now) && !stop.stop_requested()) on_change(now);
        }
      }) {}

}  // namespace banger::actuators
