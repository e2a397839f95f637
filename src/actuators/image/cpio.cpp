// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/cpio.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <iterator>
#include <utility>

namespace banger::actuators::image {
namespace {

void pad(std::string& out) { out.append((4 - out.size() % 4) % 4, '\0'); }

}  // namespace

// Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
void CpioWriter::add(std::string_view path, const Header& header, std::string_view content) {
  // magic ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize chksum
  fmt::format_to(std::back_inserter(out_), "070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}",
                 next_inode_++, header.mode, 0, 0, header.links, 0, content.size(), 0, 0, header.major, header.minor,
                 path.size() + 1, 0);
  out_ += path;
  out_ += '\0';
  pad(out_);
  out_ += content;
  pad(out_);
}

void CpioWriter::add_directory(std::string_view path, std::uint32_t permissions) {
  add(path, {.mode = S_IFDIR | permissions, .links = 2}, {});
}

void CpioWriter::add_file(std::string_view path, std::uint32_t permissions, std::string_view content) {
  add(path, {.mode = S_IFREG | permissions}, content);
}

void CpioWriter::add_char_device(std::string_view path, std::uint32_t permissions, std::uint32_t major, std::uint32_t minor) {
  add(path, {.mode = S_IFCHR | permissions, .major = major, .minor = minor}, {});
}

std::string CpioWriter::finish() {
  next_inode_ = 0;
  add("TRAILER!!!", {}, {});
  return std::exchange(out_, {});
}

}  // namespace banger::actuators::image
