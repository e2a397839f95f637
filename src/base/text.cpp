// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace banger {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > 64) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const auto candidate : candidates) {
    const auto distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string base32(std::uint64_t value, std::size_t digits) {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
  std::string out;
  for (std::size_t i = 0; i < digits; ++i) out.push_back(kAlphabet[(value >> (59U - 5U * i)) & 31U]);
  return out;
}

namespace {

// Length of the valid UTF-8 sequence of two or more bytes at the front of text, 0 if there is none.
std::size_t multibyte_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto continues = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xc0U) == 0x80U; };
  const auto lead = byte(0);
  if (lead >= 0xc3U && lead <= 0xdfU) return continues(1) ? 2 : 0;  // U+0080..U+00BF (C1 controls among them) stay escaped
  if (lead >= 0xe0U && lead <= 0xefU && continues(1) && continues(2)) {
    if (lead == 0xe0U && byte(1) < 0xa0U) return 0;
    if (lead == 0xedU && byte(1) > 0x9fU) return 0;
    if (lead == 0xe2U && (byte(1) == 0x80U || byte(1) == 0x81U)) return 0;  // bidi controls and line separators live there
    return 3;
  }
  if (lead >= 0xf0U && lead <= 0xf4U && continues(1) && continues(2) && continues(3)) {
    if (lead == 0xf0U && byte(1) < 0x90U) return 0;
    if (lead == 0xf4U && byte(1) > 0x8fU) return 0;
    return 4;
  }
  return 0;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto c = static_cast<std::uint8_t>(text.front());
    std::size_t length = 1;
    if (c >= 0x20U && c < 0x7fU) {
      out.push_back(text.front());
    } else if (const auto more = c >= 0x80U ? multibyte_length(text) : 0; more > 0) {
      length = more;
      out.append(text.substr(0, length));
    } else {
      out += fmt::format("\\x{:02x}", c);
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace banger
