// SPDX-License-Identifier: Apache-2.0
// For tests: tar files byte by byte, so that they can say what no tar program would.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace banger::actuators::testing {

struct TarEntry {
  std::string name;
  char type = '0';  // '0' file, '1' hard link, '2' symbolic link, '3' char, '4' block, '5' directory, '6' fifo
  std::string content;
  std::string link;
  unsigned mode = 0644;
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
  std::int64_t mtime = 1'600'000'000;
  unsigned device_major = 0;
  unsigned device_minor = 0;
  std::map<std::string, std::string> pax;  // records of an extended header before the entry; "path" and "linkpath" among them
};

std::string tar_entry(const TarEntry& entry);
std::string tar_end();

// The bytes packed by a libarchive filter: "gzip", "xz" or "zstd".
std::string packed(const std::string& bytes, const std::string& filter);

// A file of an ext4 image as libext2fs reads it back.
struct ImageFile {
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime = 0;
  std::uint32_t links = 0;
  std::uint32_t inode = 0;
  std::uint64_t size = 0;
  std::uint64_t blocks = 0;  // of 512 bytes
  std::string content;       // of a regular file, or a symbolic link's target
  std::uint32_t device = 0;  // i_block[0], else i_block[1]
  std::map<std::string, std::string> attributes;
  bool operator==(const ImageFile&) const = default;
};

// Every file by its path ("etc/passwd"), the root as "". Contents longer than 1 MiB are left out.
std::map<std::string, ImageFile> read_image(const std::filesystem::path& image);

}  // namespace banger::actuators::testing
