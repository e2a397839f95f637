// SPDX-License-Identifier: Apache-2.0
// FNV-1a, 64 bits (Fowler, Noll, Vo): the same on every machine and in every build. Tells texts apart; protects nothing.
#pragma once

#include <cstdint>
#include <string_view>

namespace banger {

inline constexpr std::uint64_t kFnv1aStart = 0xcbf29ce484222325ULL;

constexpr std::uint64_t fnv1a_step(std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * 0x100000001b3ULL; }

constexpr std::uint64_t fnv1a(std::uint64_t hash, std::string_view text) {
  for (const char c : text) hash = fnv1a_step(hash, static_cast<unsigned char>(c));
  return hash;
}

// Of one text after others: its end counts too, so that "ab", "c" is not "a", "bc". No valid UTF-8 has the byte 0xff.
constexpr std::uint64_t fnv1a_field(std::uint64_t hash, std::string_view text) { return fnv1a_step(fnv1a(hash, text), 0xffU); }

}  // namespace banger
