// SPDX-License-Identifier: Apache-2.0
// Sizes with their unit in the type.
#pragma once

#include <compare>
#include <cstdint>

namespace banger {

struct Bytes {
  std::uint64_t value = 0;
  auto operator<=>(const Bytes&) const = default;
};

constexpr Bytes kib(std::uint64_t n) { return {n << 10U}; }
constexpr Bytes mib(std::uint64_t n) { return {n << 20U}; }
constexpr Bytes gib(std::uint64_t n) { return {n << 30U}; }

}  // namespace banger
