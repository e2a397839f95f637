// SPDX-License-Identifier: Apache-2.0
// What the shim is asked to do: its command line as a value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace banger::shim {

inline constexpr std::size_t kMaxLocks = 32;

// banger-shim --exit-record FILE --serial-log FILE --serial-max BYTES --vmm-log FILE [--lock FILE]... -- VMM [ARGUMENT]...
struct Options {
  const char* exit_record = nullptr;
  const char* serial_log = nullptr;
  std::uint64_t serial_max = 1U << 20U;
  const char* vmm_log = nullptr;
  std::array<const char*, kMaxLocks> locks{};
  std::size_t lock_count = 0;
  char** vmm = nullptr;  // null-terminated
};

// Null, or what is wrong with the command line.
const char* parse_options(int argc, char** argv, Options& options);

}  // namespace banger::shim
