// SPDX-License-Identifier: Apache-2.0
// Many waits at once: writes of the store wait for the disk, and those of several threads share one wait.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace banger::intake {

// Calls each(i) once for every i below count, at most `threads` at a time; in order when that is one. Returns when all have
// ended.
inline void abreast(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& each) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (auto i = next++; i < count; i = next++) each(i);
  };
  std::vector<std::jthread> helpers;
  for (std::size_t i = 1; i < std::min(count, threads); ++i) helpers.emplace_back(work);
  work();
}

}  // namespace banger::intake
