// SPDX-License-Identifier: Apache-2.0
// Time as a port: core code never reads a clock by itself, so that tests and the simulation decide what time it is.
#pragma once

#include <chrono>
#include <mutex>

namespace banger {

using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;  // may jump; for people and records only
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, std::chrono::milliseconds>;  // for waiting and backoff

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall() = 0;
  virtual SteadyTime steady() = 0;
};

class SystemClock final : public Clock {
 public:
  WallTime wall() override;
  SteadyTime steady() override;
};

// Stands still until told otherwise. Thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime start = WallTime{std::chrono::seconds{1'800'000'000}}) : wall_(start) {}
  WallTime wall() override;
  SteadyTime steady() override;
  void advance(std::chrono::milliseconds by);
  void jump_wall(std::chrono::milliseconds by);  // what a clock correction does: steady time is not touched

 private:
  std::mutex mutex_;
  WallTime wall_;
  SteadyTime steady_{};
};

}  // namespace banger
