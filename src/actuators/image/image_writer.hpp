// SPDX-License-Identifier: Apache-2.0
// Writes a tree of files, and their content as an archive gives it, into a new ext4 file system.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

#include "actuators/image/archive_reader.hpp"
#include "actuators/image/tree.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::image {

// Seconds since 1970 that stand wherever the archive says no time: 2024-01-01, so that equal archives give equal file systems.
inline constexpr std::int64_t kMade = 1'704'067'200;

// A size that holds the tree: its content with a quarter to spare, at least 64 MiB, whole MiB.
Bytes size_for(const Tree& tree);

// reader gives the same entries that made the tree, from the first.
Result<void> write_tree(const Tree& tree, ArchiveReader& reader, const std::filesystem::path& path, Bytes size,
                        const std::array<std::uint8_t, 16>& uuid);

}  // namespace banger::actuators::image
