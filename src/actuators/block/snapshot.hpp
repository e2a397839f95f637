// SPDX-License-Identifier: Apache-2.0
// The texts of the kernel's snapshot target. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "actuators/cow_size.hpp"
#include "base/units.hpp"

namespace banger::actuators::block {

inline constexpr std::uint64_t kSectorSize = 512;
inline constexpr std::uint64_t kChunkSectors = kChunkSize.value / kSectorSize;

// What `snapshot` answers to STATUS, e.g. "256/131072 256" (sectors used, metadata included; of; metadata), or a word.
struct SnapshotStatus {
  enum class State {
    Valid,
    Overflow,     // PO only: nothing is lost, but writes fail until it is grown
    Invalid,      // given up by the kernel: reads fail
    MergeFailed,  // somebody else tried to merge it
    Unknown,      // the store does not say
  };
  State state = State::Valid;
  std::uint64_t used = 0;  // sectors; of Valid only
  std::uint64_t total = 0;
  std::uint64_t metadata = 0;
  bool operator==(const SnapshotStatus&) const = default;
};
std::optional<SnapshotStatus> parse_snapshot_status(std::string_view params);

// Its table line, e.g. "7:0 7:1 PO 128"; what a newer kernel writes behind that is ignored.
struct SnapshotTable {
  struct Device {
    unsigned major = 0;
    unsigned minor = 0;
    bool operator==(const Device&) const = default;
  };
  Device origin;
  Device cow;
  std::string store;
  std::uint64_t chunk = 0;  // sectors
  bool operator==(const SnapshotTable&) const = default;
};
std::optional<SnapshotTable> parse_snapshot_table(std::string_view params);
std::string format_snapshot_table(const SnapshotTable& table);

}  // namespace banger::actuators::block
