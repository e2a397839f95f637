// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/ext4_writer.hpp"

extern "C" {  // the header does not say so itself
#include <et/com_err.h>
}
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "actuators/block/directory_blocks.hpp"

namespace banger::actuators::block {
namespace {

constexpr std::uint32_t kBlockSize = 4096;
constexpr std::uint32_t kInodeSize = 256;
constexpr std::uint64_t kBytesPerInode = 16384;       // mke2fs.conf: inode_ratio
constexpr std::uint64_t kSmallestWithJournal = 2048;  // blocks; ext2fs_default_journal_size() knows none below
constexpr std::uint32_t kLostAndFoundBlocks = 4;
constexpr std::size_t kFastTarget = 60;  // a shorter symbolic link lives in the inode (60 bytes with its terminating zero)

// Codes below 256 are errno values (com_err); the file system being full is the caller's choice of size, not the host's state.
Error ext_error(std::string_view doing, errcode_t code) {
  if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL || code == EXT2_ET_DIR_NO_SPACE) {
    return invalid(fmt::format("{}: the content does not fit into the file system's size", doing));
  }
  if (code == EXT2_ET_EA_NO_SPACE) return invalid(fmt::format("{}: the extended attributes are too long", doing));
  if (code > 0 && code < 256) return errno_error(doing, static_cast<int>(code));
  return internal(fmt::format("{}: {}", doing, ::error_message(code)));
}

void set_up_messages() {
  static std::once_flag once;
  std::call_once(once, [] { ::initialize_ext2_error_table(); });
}

ext2_super_block parameters(const Ext4Options& options) {
  ext2_super_block param{};
  const auto blocks = options.size.value / kBlockSize;
  ext2fs_blocks_count_set(&param, blocks);
  ext2fs_r_blocks_count_set(&param, blocks / 20);
  param.s_rev_level = EXT2_DYNAMIC_REV;
  param.s_log_block_size = 2;
  param.s_log_cluster_size = 2;
  param.s_inode_size = kInodeSize;
  param.s_log_groups_per_flex = 4;
  param.s_desc_size = EXT2_MIN_DESC_SIZE_64BIT;
  param.s_inodes_count = static_cast<__u32>(
      std::min<std::uint64_t>(std::max(options.size.value / kBytesPerInode, options.inodes_at_least), 0xFFFF0000U));
  ext2fs_set_feature_xattr(&param);
  ext2fs_set_feature_resize_inode(&param);
  ext2fs_set_feature_dir_index(&param);
  ext2fs_set_feature_filetype(&param);
  ext2fs_set_feature_extents(&param);
  ext2fs_set_feature_64bit(&param);
  ext2fs_set_feature_flex_bg(&param);
  ext2fs_set_feature_sparse_super(&param);
  ext2fs_set_feature_large_file(&param);
  ext2fs_set_feature_huge_file(&param);
  ext2fs_set_feature_dir_nlink(&param);
  ext2fs_set_feature_extra_isize(&param);
  ext2fs_set_feature_metadata_csum(&param);
  return param;
}

void fill_superblock(ext2_filsys fs, const Ext4Options& options) {
  auto& super = *fs->super;
  std::copy(options.uuid.begin(), options.uuid.end(), super.s_uuid);
  std::copy(options.uuid.rbegin(), options.uuid.rend(), reinterpret_cast<std::uint8_t*>(super.s_hash_seed));
  options.label.copy(reinterpret_cast<char*>(super.s_volume_name), sizeof(super.s_volume_name));
  super.s_mkfs_time = static_cast<__u32>(options.made);
  super.s_lastcheck = static_cast<__u32>(options.made);
  super.s_wtime = static_cast<__u32>(options.made);
  super.s_max_mnt_count = -1;
  super.s_def_hash_version = EXT2_HASH_HALF_MD4;
  super.s_flags |= EXT2_FLAGS_SIGNED_HASH;
  super.s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
  super.s_checksum_type = EXT2_CRC32C_CHKSUM;
  super.s_min_extra_isize = 32;
  super.s_want_extra_isize = 32;
  ::ext2fs_init_csum_seed(fs);
}

// As mke2fs: the numbers below the first free one are taken, number 1 keeps the (empty) list of bad blocks.
errcode_t reserve_inodes(ext2_filsys fs) {
  for (ext2_ino_t i = EXT2_ROOT_INO + 1; i < EXT2_FIRST_INODE(fs->super); ++i) ::ext2fs_inode_alloc_stats2(fs, i, +1, 0);
  ::ext2fs_inode_alloc_stats2(fs, EXT2_BAD_INO, +1, 0);
  return ::ext2fs_update_bb_inode(fs, nullptr);
}

std::uint64_t nonzero_run(std::string_view bytes, std::size_t from) {
  std::size_t end = from;
  while (end < bytes.size()) {
    const auto part = bytes.substr(end, kBlockSize);
    if (std::all_of(part.begin(), part.end(), [](char c) { return c == 0; })) break;
    end += part.size();
  }
  return end - from;
}

// Seconds and nanoseconds as ext4 keeps them: 32 signed bits, two more for the epoch, 30 for the nanoseconds.
std::pair<__u32, __u32> ext4_time(std::int64_t seconds, std::uint32_t nanoseconds) {
  constexpr std::int64_t kFirst = -(std::int64_t{1} << 31U);
  constexpr std::int64_t kLast = (std::int64_t{1} << 34U) + kFirst - 1;
  const auto clamped = std::clamp(seconds, kFirst, kLast);
  const auto low = static_cast<std::int32_t>(clamped & 0xFFFFFFFF);
  const auto epoch = static_cast<__u32>((clamped - low) >> 32U) & 3U;
  return {static_cast<__u32>(low), epoch | (std::min(nanoseconds, 999'999'999U) << 2U)};
}

struct WideInode {  // the whole inode on disk
  ext2_inode_large inode;
  std::array<char, kInodeSize - sizeof(ext2_inode_large)> rest;
};
static_assert(sizeof(WideInode) == kInodeSize);

void set_device(ext2_inode_large& inode, std::uint32_t major, std::uint32_t minor) {
  if (major < 256 && minor < 256) {
    inode.i_block[0] = (major << 8U) | minor;
  } else {
    inode.i_block[1] = (minor & 0xFFU) | (major << 8U) | ((minor & ~0xFFU) << 12U);
  }
}

WideInode wide_inode(const Ext4Inode& from) {
  WideInode wide{};
  auto& inode = wide.inode;
  const bool is_directory = S_ISDIR(from.mode);
  inode.i_mode = static_cast<__u16>(from.mode);
  inode.i_uid = static_cast<__u16>(from.uid);
  inode.osd2.linux2.l_i_uid_high = static_cast<__u16>(from.uid >> 16U);
  inode.i_gid = static_cast<__u16>(from.gid);
  inode.osd2.linux2.l_i_gid_high = static_cast<__u16>(from.gid >> 16U);
  // dir_nlink: a directory with more than EXT2_LINK_MAX links counts 1.
  inode.i_links_count = static_cast<__u16>(is_directory && from.links >= EXT2_LINK_MAX ? 1 : from.links);
  const auto [time, extra] = ext4_time(from.mtime, from.mtime_ns);
  inode.i_atime = inode.i_ctime = inode.i_mtime = inode.i_crtime = time;
  inode.i_atime_extra = inode.i_ctime_extra = inode.i_mtime_extra = inode.i_crtime_extra = extra;
  inode.i_extra_isize = 32;
  if (S_ISREG(from.mode) || is_directory || (S_ISLNK(from.mode) && from.target.size() >= kFastTarget)) {
    inode.i_flags = EXT4_EXTENTS_FL;
    // An extent header without extents (struct ext3_extent_header): magic, 0 entries of 4, depth 0.
    inode.i_block[0] = 0xF30A;
    inode.i_block[1] = 4;
  } else if (S_ISLNK(from.mode)) {
    std::memcpy(inode.i_block, from.target.data(), from.target.size());
  } else if (S_ISCHR(from.mode) || S_ISBLK(from.mode)) {
    set_device(inode, from.device_major, from.device_minor);
  }
  if (S_ISLNK(from.mode)) inode.i_size = static_cast<__u32>(from.target.size());
  return wide;
}

}  // namespace

struct Ext4Writer::State {
  ext2_filsys fs = nullptr;
  std::string name;  // of the file, for messages
  std::uint32_t next_inode = 0;
  bool lost_and_found_pending = true;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    // Given up: the caller removes the file.
    if (fs != nullptr) ::ext2fs_free(fs);
  }

  std::unexpected<Error> failed(std::string_view doing, errcode_t code) const {
    return banger::fail(ext_error(fmt::format("{} {}", doing, name), code));
  }

  Result<void> prepare(const Ext4Options& options);
  Result<void> write_block(std::uint32_t inode, std::uint64_t logical, char* block, bool is_directory);
  Result<void> set_attributes(std::uint32_t inode, const std::vector<Ext4Attribute>& attributes);
};

Result<void> Ext4Writer::State::prepare(const Ext4Options& options) {
  fs->now = options.made;
  fs->umask = 022;
  fill_superblock(fs, options);
  if (const auto code = ::ext2fs_allocate_tables(fs); code != 0) return failed("making the tables of", code);
  // The file is sparse and new, so the inode tables are zeros already: neither we nor the guest's kernel need to write them.
  for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
    ::ext2fs_bg_flags_set(fs, group, EXT2_BG_INODE_ZEROED);
    ::ext2fs_group_desc_csum_set(fs, group);
  }
  if (const auto code = reserve_inodes(fs); code != 0) return failed("reserving inodes of", code);
  if (const auto code = ::ext2fs_create_resize_inode(fs); code != 0) return failed("making the resize inode of", code);
  const auto blocks = ext2fs_blocks_count(fs->super);
  if (blocks >= kSmallestWithJournal) {
    const int length = ::ext2fs_default_journal_size(blocks);
    // LAZYINIT: the journal's blocks are zeros already, as above.
    const auto code =
        ::ext2fs_add_journal_inode2(fs, static_cast<blk_t>(length), ~0ULL, EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK);
    if (code != 0) return failed("making the journal of", code);
  }
  next_inode = EXT2_FIRST_INODE(fs->super);
  return {};
}

Ext4Writer::Ext4Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ext4Writer::Ext4Writer(Ext4Writer&&) noexcept = default;
Ext4Writer& Ext4Writer::operator=(Ext4Writer&&) noexcept = default;
Ext4Writer::~Ext4Writer() = default;

Result<Ext4Writer> Ext4Writer::create(const std::filesystem::path& path, const Ext4Options& options) {
  set_up_messages();
  if (options.size < kSmallestExt4) {
    return fail(invalid(fmt::format("{}: {} bytes are too few for an ext4 file system, at least {} are needed", path.native(),
                                    options.size.value, kSmallestExt4.value)));
  }
  if (options.label.size() > EXT2_LABEL_LEN) {
    return fail(invalid(fmt::format("{}: the label is longer than {} bytes", path.native(), EXT2_LABEL_LEN)));
  }
  if (::truncate(path.c_str(), static_cast<off_t>(options.size.value)) != 0) {
    return fail(errno_error(fmt::format("extending {}", path.native()), errno));
  }
  auto state = std::make_unique<State>();
  state->name = path.native();
  auto param = parameters(options);
  const auto code = ::ext2fs_initialize(path.c_str(), EXT2_FLAG_64BITS, &param, unix_io_manager, &state->fs);
  if (code != 0) return state->failed("making ext4 in", code);
  BGR_CHECK(state->prepare(options));
  return Ext4Writer(std::move(state));
}

Result<std::uint32_t> Ext4Writer::add(const Ext4Inode& inode) {
  auto& s = *state_;
  const bool is_root = !ext2fs_test_inode_bitmap2(s.fs->inode_map, EXT2_ROOT_INO);
  const auto number = is_root ? kRootInode : s.next_inode;
  if (number > s.fs->super->s_inodes_count) return s.failed("adding a file to", EXT2_ET_INODE_ALLOC_FAIL);
  if (!is_root) ++s.next_inode;
  auto wide = wide_inode(inode);
  ::ext2fs_inode_alloc_stats2(s.fs, number, +1, S_ISDIR(inode.mode) ? 1 : 0);
  const auto code = ::ext2fs_write_inode_full(s.fs, number, reinterpret_cast<ext2_inode*>(&wide), sizeof(wide));
  if (code != 0) return s.failed("writing an inode of", code);
  if (S_ISLNK(inode.mode) && inode.target.size() >= kFastTarget) {
    std::string block = inode.target;
    block.resize(kBlockSize);
    BGR_CHECK(s.write_block(number, 0, block.data(), false));
  }
  if (!inode.attributes.empty()) BGR_CHECK(s.set_attributes(number, inode.attributes));
  return number;
}

Result<void> Ext4Writer::State::set_attributes(std::uint32_t inode, const std::vector<Ext4Attribute>& attributes) {
  ext2_xattr_handle* handle = nullptr;
  if (const auto code = ::ext2fs_xattrs_open(fs, inode, &handle); code != 0) return failed("opening attributes in", code);
  auto code = ::ext2fs_xattrs_read(handle);
  for (const auto& attribute : attributes) {
    if (code == 0) code = ::ext2fs_xattr_set(handle, attribute.name.c_str(), attribute.value.data(), attribute.value.size());
  }
  ::ext2fs_xattrs_close(&handle);
  if (code != 0) return failed("writing attributes in", code);
  return {};
}

Result<void> Ext4Writer::State::write_block(std::uint32_t inode, std::uint64_t logical, char* block, bool is_directory) {
  blk64_t physical = 0;
  auto code = ::ext2fs_bmap2(fs, inode, nullptr, nullptr, BMAP_ALLOC, logical, nullptr, &physical);
  if (code == 0) {
    code = is_directory ? ::ext2fs_write_dir_block4(fs, physical, block, 0, inode)
                        : ::io_channel_write_blk64(fs->io, physical, 1, block);
  }
  if (code != 0) return failed("writing a block of", code);
  return {};
}

Result<void> Ext4Writer::write_directory(std::uint32_t inode, std::uint32_t parent, const std::vector<Ext4Name>& names) {
  auto& s = *state_;
  auto blocks = directory_blocks(inode, parent, names, kBlockSize);
  if (s.lost_and_found_pending && inode == EXT2_FIRST_INODE(s.fs->super)) {
    s.lost_and_found_pending = false;
    while (blocks.size() < kLostAndFoundBlocks) blocks.push_back(empty_directory_block(kBlockSize));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    ::ext2fs_initialize_dirent_tail(s.fs, EXT2_DIRENT_TAIL(blocks[i].data(), kBlockSize));
    BGR_CHECK(s.write_block(inode, i, blocks[i].data(), true));
  }
  ext2_inode now{};
  auto code = ::ext2fs_read_inode(s.fs, inode, &now);
  if (code == 0)
    code = ::ext2fs_inode_size_set(s.fs, &now, static_cast<ext2_off64_t>(blocks.size()) * static_cast<ext2_off64_t>(kBlockSize));
  if (code == 0) code = ::ext2fs_write_inode(s.fs, inode, &now);
  if (code != 0) return s.failed("writing a directory of", code);
  return {};
}

Result<void> Ext4Writer::write_file(std::uint32_t inode, std::uint64_t offset, std::string_view bytes) {
  auto& s = *state_;
  ext2_file_t file = nullptr;
  auto code = ::ext2fs_file_open2(s.fs, inode, nullptr, EXT2_FILE_WRITE, &file);
  if (code != 0) return s.failed("opening a file in", code);
  for (std::size_t at = 0; code == 0 && at < bytes.size();) {
    const auto run = nonzero_run(bytes, at);
    if (run == 0) {
      at += std::min<std::size_t>(kBlockSize, bytes.size() - at);
      continue;
    }
    code = ::ext2fs_file_llseek(file, offset + at, EXT2_SEEK_SET, nullptr);
    if (code == 0) code = ::ext2fs_file_write(file, bytes.data() + at, static_cast<unsigned>(run), nullptr);
    at += run;
  }
  const auto closed = ::ext2fs_file_close(file);
  if (code == 0) code = closed;
  if (code != 0) return s.failed("writing a file in", code);
  return {};
}

Result<void> Ext4Writer::set_file_size(std::uint32_t inode, std::uint64_t size) {
  auto& s = *state_;
  ext2_inode now{};
  auto code = ::ext2fs_read_inode(s.fs, inode, &now);
  if (code == 0) code = ::ext2fs_inode_size_set(s.fs, &now, static_cast<ext2_off64_t>(size));
  if (code == 0) code = ::ext2fs_write_inode(s.fs, inode, &now);
  if (code != 0) return s.failed("writing a file's size in", code);
  return {};
}

Result<void> Ext4Writer::finish() {
  auto& s = *state_;
  const auto code = ::ext2fs_close_free(&s.fs);
  if (code != 0) return s.failed("writing", code);
  return {};
}

Result<void> make_empty_ext4(const std::filesystem::path& path, const Ext4Options& options) {
  BGR_TRY(auto writer, Ext4Writer::create(path, options));
  BGR_TRY(const auto root, writer.add({.mode = S_IFDIR | 0755, .mtime = options.made, .links = 3}));
  BGR_TRY(const auto lost, writer.add({.mode = S_IFDIR | 0700, .mtime = options.made, .links = 2}));
  BGR_CHECK(writer.write_directory(root, root, {{"lost+found", lost, S_IFDIR}}));
  BGR_CHECK(writer.write_directory(lost, root, {}));
  return writer.finish();
}

}  // namespace banger::actuators::block
