// SPDX-License-Identifier: Apache-2.0
// Small functions on text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace banger {

std::vector<std::string_view> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);

// Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to word if it is near enough for "did you mean" (at most a third of the word, at least 1 edit), else "".
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

// Lower-case RFC 4648 base32 alphabet ("a-z2-7"), no padding: digits characters taken from the most significant bits of value
// (5 bits each; digits <= 12).
std::string base32(std::uint64_t value, std::size_t digits);

// For log lines and messages: bytes outside printable ASCII and valid UTF-8 letters become \xNN, so that nothing a guest or a
// file says can move a terminal's cursor.
std::string printable(std::string_view text);

}  // namespace banger
