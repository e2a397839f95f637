// SPDX-License-Identifier: Apache-2.0
// The blocks of an ext4 directory, as bytes. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "actuators/block/ext4_writer.hpp"

namespace banger::actuators::block {

// A linear directory with "." and ".." first. Each block keeps its last 12 bytes for the checksum; the caller fills them. Names
// have 1 to 255 bytes.
std::vector<std::string> directory_blocks(std::uint32_t inode, std::uint32_t parent, const std::vector<Ext4Name>& names,
                                          std::uint32_t block_size);

// A block without names, as lost+found keeps in reserve.
std::string empty_directory_block(std::uint32_t block_size);

}  // namespace banger::actuators::block
