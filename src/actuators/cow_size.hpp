// SPDX-License-Identifier: Apache-2.0
// How much space the copy-on-write file of a root disk takes: what plans ask for, and what hosts make. Pure.
#pragma once

#include "base/units.hpp"

namespace banger::actuators {

inline constexpr Bytes kChunkSize = kib(64);  // a third of the kernel memory that 4 KiB chunks take

Bytes in_chunks(Bytes size);  // rounded up to whole chunks

// What a disk of this size gets set aside when nothing is said: a quarter of it, 64 MiB to 1 GiB, in whole chunks, and no more
// than it can ever need.
Bytes default_cow_size(Bytes disk);

// What the growth of such a file leaves free in a file system of this size: a twentieth, at most 1 GiB. Below it the store, other
// guests' data disks and records come first.
Bytes growth_reserve(Bytes file_system);

// What suffices when every chunk of the disk is written: the chunks, a metadata chunk for every 4096 of them (an exception takes
// 16 bytes) and one more (the kernel clears the next before it needs it), and the header.
Bytes full_cow_size(Bytes disk);

}  // namespace banger::actuators
