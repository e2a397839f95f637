// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/tsc.hpp"

#include <ctime>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace banger::actuators::vmm {
namespace {

#if defined(__x86_64__)
struct Sample {
  std::uint64_t ticks = 0;
  std::uint64_t nanoseconds = 0;
};

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

// The tightest of a few pairs: being preempted between the two reads shows as a wide one.
Sample sample() {
  Sample best;
  std::uint64_t width = ~std::uint64_t{0};
  for (int i = 0; i < 16; ++i) {
    const auto before = __rdtsc();
    const auto nanoseconds = now_ns();
    const auto after = __rdtsc();
    if (after - before < width) {
      width = after - before;
      best = {before + (after - before) / 2, nanoseconds};
    }
  }
  return best;
}

std::uint64_t measure() {
  const auto first = sample();
  const timespec pause{0, 50'000'000};
  ::nanosleep(&pause, nullptr);
  const auto second = sample();
  const auto elapsed = second.nanoseconds - first.nanoseconds;
  return elapsed == 0
             ? 0
             : static_cast<std::uint64_t>(static_cast<double>(second.ticks - first.ticks) * 1e6 / static_cast<double>(elapsed));
}
#else
std::uint64_t measure() { return 0; }
#endif

}  // namespace

std::uint64_t host_tsc_khz() {
  static const std::uint64_t value = measure();
  return value;
}

}  // namespace banger::actuators::vmm
