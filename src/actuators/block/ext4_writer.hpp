// SPDX-License-Identifier: Apache-2.0
// Makes an ext4 file system in a file and fills it, through libext2fs: no mount, no program, no privilege. For new file systems
// only; a disk that a guest has written is never opened with it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::block {

struct Ext4Options {
  Bytes size;         // rounded down to blocks of 4 KiB; at least kSmallestExt4
  std::string label;  // at most 16 bytes
  std::array<std::uint8_t, 16> uuid{};
  std::int64_t made = 0;              // seconds since 1970, for the superblock; the same options give the same bytes
  std::uint64_t inodes_at_least = 0;  // more than one for each 16 KiB, if that is needed
};

inline constexpr Bytes kSmallestExt4 = mib(1);
inline constexpr std::uint32_t kRootInode = 2;

struct Ext4Attribute {
  std::string name;  // "security.capability"
  std::string value;
  bool operator==(const Ext4Attribute&) const = default;
};

struct Ext4Inode {
  std::uint32_t mode = 0;  // type and permission bits, as in st_mode
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime = 0;  // seconds since 1970
  std::uint32_t mtime_ns = 0;
  std::uint32_t links = 1;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::string target;  // of a symbolic link
  std::vector<Ext4Attribute> attributes;
};

struct Ext4Name {
  std::string name;
  std::uint32_t inode = 0;
  std::uint32_t mode = 0;  // of the inode: its type stands in the directory, too
};

class Ext4Writer {
 public:
  // path is an empty regular file; it is extended to options.size. Everything that is not written stays a hole.
  static Result<Ext4Writer> create(const std::filesystem::path& path, const Ext4Options& options);

  Ext4Writer(Ext4Writer&&) noexcept;
  Ext4Writer& operator=(Ext4Writer&&) noexcept;
  ~Ext4Writer();

  // The first inode given for a directory must be the root (kRootInode), the second lost+found. Numbers follow one another.
  Result<std::uint32_t> add(const Ext4Inode& inode);

  // The names in a directory, once for each, without "." and "..".
  Result<void> write_directory(std::uint32_t inode, std::uint32_t parent, const std::vector<Ext4Name>& names);

  // Bytes of a regular file. offset is a multiple of 4096, and so is the length but for the last part; blocks of zeros stay
  // holes.
  Result<void> write_file(std::uint32_t inode, std::uint64_t offset, std::string_view bytes);
  Result<void> set_file_size(std::uint32_t inode, std::uint64_t size);  // once, after the last write

  Result<void> finish();  // writes what is still in memory; the caller syncs the file

 private:
  struct State;
  explicit Ext4Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// An empty file system (root and lost+found only).
Result<void> make_empty_ext4(const std::filesystem::path& path, const Ext4Options& options);

}  // namespace banger::actuators::block
