// SPDX-License-Identifier: Apache-2.0
// Copies of large files: by sharing extents where the file system can, else by copying the data and keeping the holes.
#pragma once

#include <cstdint>
#include <stop_token>

#include "base/result.hpp"

namespace banger::actuators::block {

// The whole of `from` becomes the content of `to` with shared extents (FICLONE). False: these files' file system cannot do that.
Result<bool> share_extents(int from, int to);

// Copies the first `length` bytes to the same place in `to`, which is empty; only what is data (SEEK_DATA) is written.
Result<void> copy_data(int from, int to, std::uint64_t length, const std::stop_token& stop);

// Length of an open regular file.
Result<std::uint64_t> length_of(int fd);

// The error of a job that was told to stop.
Error stopped();

}  // namespace banger::actuators::block
