// SPDX-License-Identifier: Apache-2.0
// Kubernetes quantities of bytes, exactly: integer arithmetic only.
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <limits>

#include "api/codec.hpp"
#include "base/text.hpp"

namespace banger::api {
namespace {

__extension__ using Wide = unsigned __int128;

struct Suffix {
  std::string_view text;
  std::uint64_t factor;
};

constexpr std::array kSuffixes{
    Suffix{"", 1},
    Suffix{"k", 1'000},
    Suffix{"M", 1'000'000},
    Suffix{"G", 1'000'000'000},
    Suffix{"T", 1'000'000'000'000},
    Suffix{"P", 1'000'000'000'000'000},
    Suffix{"E", 1'000'000'000'000'000'000},
    Suffix{"Ki", 1ULL << 10U},
    Suffix{"Mi", 1ULL << 20U},
    Suffix{"Gi", 1ULL << 30U},
    Suffix{"Ti", 1ULL << 40U},
    Suffix{"Pi", 1ULL << 50U},
    Suffix{"Ei", 1ULL << 60U},
};
// Kubernetes keeps quantities in a signed 64-bit integer.
constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
// 10^18 * 2^60 stays below 2^128.
constexpr std::size_t kMaxDigits = 18;

std::size_t digits_at(std::string_view text) {
  const auto end = text.find_first_not_of("0123456789");
  return end == std::string_view::npos ? text.size() : end;
}

std::string shown(std::string_view text) { return '"' + printable(text.substr(0, 40)) + (text.size() > 40 ? "…\"" : "\""); }

std::uint64_t number(std::string_view digits) {
  std::uint64_t value = 0;
  for (const char c : digits) value = value * 10 + static_cast<std::uint64_t>(c - '0');
  return value;
}

std::uint64_t power_of_ten(std::size_t exponent) {
  std::uint64_t value = 1;
  for (; exponent > 0; --exponent) value *= 10;
  return value;
}

}  // namespace

Result<Bytes> parse_quantity(std::string_view text) {
  auto rest = text;
  auto whole = rest.substr(0, digits_at(rest));
  rest.remove_prefix(whole.size());
  std::string_view fraction;
  if (rest.starts_with('.')) {
    fraction = rest.substr(1, digits_at(rest.substr(1)));
    rest.remove_prefix(1 + fraction.size());
    if (fraction.empty()) whole = {};  // "1." is not a number
  }
  if (whole.empty()) return fail(invalid(fmt::format("must be a size such as 512Mi, 1.5Gi or 4G, is {}", shown(text))));
  const Suffix* suffix = nullptr;
  for (const auto& candidate : kSuffixes) {
    if (candidate.text == rest) suffix = &candidate;
  }
  if (suffix == nullptr) {
    return fail(invalid(
        fmt::format("must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is {}", shown(text))));
  }
  while (fraction.ends_with('0')) fraction.remove_suffix(1);
  while (whole.size() > 1 && whole.starts_with('0')) whole.remove_prefix(1);
  const auto too_large = [&] { return fail(invalid(fmt::format("must be less than 8Ei, is {}", shown(text)))); };
  if (whole.size() > kMaxDigits + 1) return too_large();
  const auto not_whole = [&] {
    return fail(
        invalid(fmt::format("must be a whole number of bytes, is {}; a suffix such as Mi or Gi may be missing", shown(text))));
  };
  if (fraction.size() > kMaxDigits) return not_whole();
  const Wide factor = suffix->factor;
  const Wide from_whole = number(whole) * factor;  // < 10^19 * 2^60
  const Wide from_fraction = number(fraction) * factor;
  const Wide scale = power_of_ten(fraction.size());
  if (from_fraction % scale != 0) return not_whole();
  const Wide bytes = from_whole + from_fraction / scale;
  if (bytes > kLargest) return too_large();
  return Bytes{static_cast<std::uint64_t>(bytes)};
}

std::string format_quantity(Bytes size) {
  if (size.value == 0) return "0";
  const Suffix* best = kSuffixes.data();
  for (const auto& suffix : kSuffixes) {
    if (suffix.text.ends_with('i') && size.value % suffix.factor == 0) best = &suffix;
  }
  return fmt::format("{}{}", size.value / best->factor, best->text);
}

}  // namespace banger::api
