// SPDX-License-Identifier: Apache-2.0
// What happened, in order: always as a number that two equal runs share, as lines only when somebody wants to read them.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace banger::simulation {

class Trace {
 public:
  Trace(Clock& clock, bool keep) : clock_(clock), keep_(keep) {}

  void mix(std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9e3779b97f4a7c15ULL;
    hash_ ^= hash_ >> 29U;
  }
  void mix(std::string_view text) {
    std::uint64_t sum = 0xcbf29ce484222325ULL;  // FNV-1a
    for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    mix(sum);
  }
  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    mix(static_cast<std::uint64_t>(clock_.steady().time_since_epoch().count()));
    if (!keep_) return;
    const auto at = clock_.steady().time_since_epoch().count();
    lines_.push_back(fmt::format("{:>8}.{:03} {}", at / 1000, at % 1000, fmt::format(format, std::forward<Args>(args)...)));
  }

  [[nodiscard]] bool keeps() const { return keep_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }

 private:
  Clock& clock_;
  const bool keep_;
  std::uint64_t hash_ = 0x6a09e667f3bcc908ULL;
  std::vector<std::string> lines_;
};

}  // namespace banger::simulation
