// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli; RFC 3720 appendix B.4), the check of every stored value.
#pragma once

#include <cstdint>
#include <string_view>

namespace banger::store {

// Of bytes that follow others whose CRC is before (0: none).
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

// The same where the processor has no instruction for it.
std::uint32_t crc32c_by_table(std::string_view bytes, std::uint32_t before = 0);

}  // namespace banger::store
