// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/ext4.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::block {
namespace {

// Offsets and bits: Documentation/filesystems/ext4/super.rst of the kernel.
constexpr std::uint16_t kMagic = 0xEF53;
constexpr std::uint32_t kCompatHasJournal = 0x4;
constexpr std::uint32_t kCompatResizeInode = 0x10;
constexpr std::uint32_t kIncompatJournalDevice = 0x8;
constexpr std::uint32_t kIncompatMetaBg = 0x10;
constexpr std::uint32_t kIncompat64Bit = 0x80;

std::uint32_t little(std::string_view bytes, std::size_t offset, std::size_t width) {
  std::uint32_t value = 0;
  for (std::size_t i = width; i-- > 0;) value = (value << 8U) | static_cast<unsigned char>(bytes[offset + i]);
  return value;
}

std::string uuid_text(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += fmt::format("{:02x}", static_cast<unsigned char>(bytes[i]));
  }
  return out;
}

}  // namespace

std::optional<Ext4Facts> decode_superblock(std::string_view bytes) {
  if (bytes.size() < kSuperblockSize || little(bytes, 0x38, 2) != kMagic) return std::nullopt;
  const auto log_block_size = little(bytes, 0x18, 4);
  const auto compat = little(bytes, 0x5C, 4);
  const auto incompat = little(bytes, 0x60, 4);
  // 64 KiB blocks are the largest the format knows; a journal device bears the magic, too.
  if (log_block_size > 6 || (incompat & kIncompatJournalDevice) != 0) return std::nullopt;
  std::uint64_t blocks = little(bytes, 0x4, 4);
  std::uint64_t free_blocks = little(bytes, 0xC, 4);
  if ((incompat & kIncompat64Bit) != 0) {
    blocks |= static_cast<std::uint64_t>(little(bytes, 0x150, 4)) << 32U;
    free_blocks |= static_cast<std::uint64_t>(little(bytes, 0x158, 4)) << 32U;
  }
  // Beyond 2^48 blocks of 4 KiB no extent can point; it also keeps the product below 2^64.
  if (blocks == 0 || blocks >= (std::uint64_t{1} << 48U) || little(bytes, 0x20, 4) == 0 || little(bytes, 0x28, 4) == 0) {
    return std::nullopt;
  }
  Ext4Facts facts;
  facts.block_size = std::uint64_t{1024} << log_block_size;
  facts.size = {blocks * facts.block_size};
  facts.free_blocks = free_blocks;
  facts.inodes = little(bytes, 0x0, 4);
  const auto label = bytes.substr(0x78, 16);
  facts.label = printable(label.substr(0, label.find('\0')));
  facts.uuid = uuid_text(bytes.substr(0x68, 16));
  facts.has_journal = (compat & kCompatHasJournal) != 0;
  facts.can_grow_online = (compat & kCompatResizeInode) != 0 || (incompat & kIncompatMetaBg) != 0;
  return facts;
}

Result<std::optional<Ext4Facts>> read_ext4_facts(const std::filesystem::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", path.native()), errno));
  std::array<char, kSuperblockSize> bytes{};
  const ssize_t got = ::pread(fd.get(), bytes.data(), bytes.size(), kSuperblockOffset);
  if (got < 0) return fail(errno_error(fmt::format("reading {}", path.native()), errno));
  return decode_superblock({bytes.data(), static_cast<std::size_t>(got)});
}

}  // namespace banger::actuators::block
