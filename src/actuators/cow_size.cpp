// SPDX-License-Identifier: Apache-2.0
#include "actuators/cow_size.hpp"

#include <algorithm>
#include <cstdint>

namespace banger::actuators {
namespace {

constexpr std::uint64_t kExceptionSize = 16;  // struct disk_exception in the kernel's dm-snap-persistent.c
constexpr std::uint64_t kExceptionsPerChunk = kChunkSize.value / kExceptionSize;

}  // namespace

Bytes in_chunks(Bytes size) { return {(size.value + kChunkSize.value - 1) / kChunkSize.value * kChunkSize.value}; }

Bytes default_cow_size(Bytes disk) {
  return std::min(std::clamp(in_chunks({disk.value / 4}), mib(64), gib(1)), full_cow_size(disk));
}

Bytes growth_reserve(Bytes file_system) { return std::min(Bytes{file_system.value / 20}, gib(1)); }

Bytes full_cow_size(Bytes disk) {
  const auto chunks = in_chunks(disk).value / kChunkSize.value;
  const auto metadata = (chunks + kExceptionsPerChunk - 1) / kExceptionsPerChunk + 1;
  return {(1 + metadata + chunks) * kChunkSize.value};
}

}  // namespace banger::actuators
