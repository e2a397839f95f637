// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/directory_blocks.hpp"

#include <sys/stat.h>

#include <cstddef>

namespace banger::actuators::block {
namespace {

constexpr std::size_t kTail = 12;     // struct ext4_dir_entry_tail
constexpr std::size_t kHeader = 8;    // inode, rec_len, name_len, file_type
constexpr std::size_t kLengthAt = 4;  // of rec_len

std::uint8_t type_of(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    case S_IFSOCK:
      return 6;
    case S_IFLNK:
      return 7;
    default:
      return 0;
  }
}

void put(std::string& block, std::size_t at, std::uint32_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) block[at + i] = static_cast<char>((value >> (8 * i)) & 0xFFU);
}

class Blocks {
 public:
  explicit Blocks(std::size_t block_size) : usable_(block_size - kTail), block_size_(block_size) {}

  void add(const Ext4Name& name) {
    const auto need = (kHeader + name.name.size() + 3) / 4 * 4;
    if (used_ + need > usable_) close();
    if (blocks_.empty() || used_ == 0) blocks_.emplace_back(block_size_, '\0');
    auto& block = blocks_.back();
    put(block, used_, name.inode, 4);
    put(block, used_ + kLengthAt, static_cast<std::uint32_t>(need), 2);
    block[used_ + 6] = static_cast<char>(static_cast<unsigned char>(name.name.size()));
    block[used_ + 7] = static_cast<char>(type_of(name.mode));
    block.replace(used_ + kHeader, name.name.size(), name.name);
    last_ = used_;
    used_ += need;
  }

  std::vector<std::string> take() {
    close();
    return std::move(blocks_);
  }

 private:
  // The last entry's length reaches up to the checksum.
  void close() {
    if (used_ != 0) put(blocks_.back(), last_ + kLengthAt, static_cast<std::uint32_t>(usable_ - last_), 2);
    used_ = 0;
  }

  std::size_t usable_;
  std::size_t block_size_;
  std::size_t used_ = 0;  // of the last block; 0: the next name opens a block
  std::size_t last_ = 0;  // where its last entry begins
  std::vector<std::string> blocks_;
};

}  // namespace

std::vector<std::string> directory_blocks(std::uint32_t inode, std::uint32_t parent, const std::vector<Ext4Name>& names,
                                          std::uint32_t block_size) {
  Blocks blocks(block_size);
  blocks.add({".", inode, S_IFDIR});
  blocks.add({"..", parent, S_IFDIR});
  for (const auto& name : names) blocks.add(name);
  return blocks.take();
}

std::string empty_directory_block(std::uint32_t block_size) {
  std::string block(block_size, '\0');
  put(block, kLengthAt, static_cast<std::uint32_t>(block_size - kTail), 2);
  return block;
}

}  // namespace banger::actuators::block
