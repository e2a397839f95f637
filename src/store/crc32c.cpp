// SPDX-License-Identifier: Apache-2.0
#include "store/crc32c.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

namespace banger::store {
namespace {

using Row = std::array<std::uint32_t, 256>;

// Eight bytes a round: a changelog of some ten thousand revisions is checked at every start of the daemon.
constexpr std::array<Row, 8> make_rows() {
  std::array<Row, 8> rows{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1U) ^ ((value & 1U) != 0 ? 0x82f63b78U : 0U);
    rows[0][i] = value;
  }
  for (std::size_t row = 1; row < rows.size(); ++row) {
    for (std::size_t i = 0; i < 256; ++i) {
      const auto last = rows[row - 1][i];
      rows[row][i] = (last >> 8U) ^ rows[0][last & 0xffU];
    }
  }
  return rows;
}

constexpr auto kRows = make_rows();
static_assert(std::endian::native == std::endian::little);

#if defined(__x86_64__)
// The processor's own instruction, where it has one.
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(std::string_view bytes, std::uint32_t before) {
  std::uint64_t crc = ~before;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    crc = __builtin_ia32_crc32di(crc, word);
    bytes.remove_prefix(8);
  }
  auto rest = static_cast<std::uint32_t>(crc);
  for (const char c : bytes) rest = __builtin_ia32_crc32qi(rest, static_cast<std::uint8_t>(c));
  return ~rest;
}
#endif

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return by_instruction(bytes, before);
#endif
  return crc32c_by_table(bytes, before);
}

std::uint32_t crc32c_by_table(std::string_view bytes, std::uint32_t before) {
  std::uint32_t crc = ~before;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    word ^= crc;
    crc = 0;
    for (unsigned i = 0; i < 8; ++i) crc ^= kRows[7 - i][(word >> (8 * i)) & 0xffU];
    bytes.remove_prefix(8);
  }
  for (const char c : bytes) crc = (crc >> 8U) ^ kRows[0][(crc ^ static_cast<std::uint8_t>(c)) & 0xffU];
  return ~crc;
}

}  // namespace banger::store
