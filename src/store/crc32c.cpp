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

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) {
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
