// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "guest_init/devices.hpp"

namespace banger::guest_init {
namespace {

// fs/ext4/ext4.h of the kernel; its argument is the new number of blocks.
constexpr unsigned long kResize = _IOW('f', 16, std::uint64_t);

struct Sizes {
  std::uint64_t blocks = 0;  // of the file system
  std::uint64_t room = 0;    // how many the device could hold
};

std::uint64_t little(const unsigned char* bytes) {
  return bytes[0] | (std::uint64_t{bytes[1]} << 8U) | (std::uint64_t{bytes[2]} << 16U) | (std::uint64_t{bytes[3]} << 24U);
}

Sizes sizes_of(const std::string& device) {
  Sizes sizes;
  const int fd = ::open(device.c_str(), O_RDONLY | O_CLOEXEC);
  std::array<unsigned char, 1024> super{};
  std::uint64_t bytes = 0;
  if (fd >= 0 && ::pread(fd, super.data(), super.size(), 1024) == static_cast<ssize_t>(super.size()) &&
      ::ioctl(fd, BLKGETSIZE64, &bytes) == 0) {
    // Offsets: Documentation/filesystems/ext4/super.rst. 0x60 is the incompatible features, of which 0x80 means 64 bit.
    const bool wide = (super[0x60] & 0x80U) != 0;
    sizes.blocks = little(&super[0x4]) | (wide ? little(&super[0x150]) << 32U : 0);
    sizes.room = bytes >> (10 + (super[0x18] & 7U));
  }
  if (fd >= 0) ::close(fd);
  return sizes;
}

void grow(const std::string& device, const std::string& where) {
  auto sizes = sizes_of(device);
  if (sizes.blocks == 0 || sizes.room <= sizes.blocks) return;
  const int fd = ::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || ::ioctl(fd, kResize, &sizes.room) != 0) say(*problem("growing the file system on " + device) + ", ignoring");
  if (fd >= 0) ::close(fd);
}

}  // namespace

Problem mount_disk(const std::string& device, const std::string& where) {
  if (::mount(device.c_str(), where.c_str(), "ext4", 0, nullptr) != 0) return problem("mounting " + device);
  grow(device, where);
  return {};
}

}  // namespace banger::guest_init
