// SPDX-License-Identifier: Apache-2.0
// The superblock of an ext4 file system: read from its bytes alone, since a guest may have written the disk.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::block {

struct Ext4Facts {
  Bytes size;  // of the file system: blocks times block size
  std::uint64_t block_size = 0;
  std::uint64_t free_blocks = 0;  // as the superblock says; the kernel updates it lazily
  std::uint64_t inodes = 0;
  std::string label;  // printable
  std::string uuid;   // 36 characters
  bool has_journal = false;
  bool can_grow_online = false;  // resize_inode or meta_bg
  bool operator==(const Ext4Facts&) const = default;
};

inline constexpr std::size_t kSuperblockOffset = 1024;
inline constexpr std::size_t kSuperblockSize = 1024;

// Of the kSuperblockSize bytes at kSuperblockOffset; nothing when they are no superblock that a Linux kernel would mount as ext4.
std::optional<Ext4Facts> decode_superblock(std::string_view bytes);

// Of a file. Errors: as open(2) and read(2). Nothing when it is no ext4 file system.
Result<std::optional<Ext4Facts>> read_ext4_facts(const std::filesystem::path& path);

}  // namespace banger::actuators::block
