// SPDX-License-Identifier: Apache-2.0
// Writes a cpio archive ("newc") as the Linux kernel unpacks it into its first root file system. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace banger::actuators::image {

// Names without a leading "/"; a directory comes before what is in it. The same calls give the same bytes: every time is 0, every
// owner root.
class CpioWriter {
 public:
  void add_directory(std::string_view path, std::uint32_t permissions);
  void add_file(std::string_view path, std::uint32_t permissions, std::string_view content);  // content shorter than 4 GiB
  void add_char_device(std::string_view path, std::uint32_t permissions, std::uint32_t major, std::uint32_t minor);

  // The archive with its end mark. Its length is a multiple of four, as is needed where another archive follows.
  std::string finish();

 private:
  struct Header {
    std::uint32_t mode = 0;
    std::uint32_t links = 1;
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
  };
  void add(std::string_view path, const Header& header, std::string_view content);

  std::string out_;
  std::uint32_t next_inode_ = 1;
};

// What an absolute path in the guest is called in an archive.
inline std::string_view in_archive(std::string_view path) { return path.substr(1); }

}  // namespace banger::actuators::image
