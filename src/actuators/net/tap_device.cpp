// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/tap_device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

namespace banger::actuators::net {
namespace {

constexpr short kTapFlags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
constexpr short kMustBeNew = static_cast<short>(IFF_TUN_EXCL);  // 0x8000: the sign bit of ifr_flags

}  // namespace

Result<TapDevice> TapDevice::open(const std::string& name, short flags) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) {
    auto error = errno_error("opening /dev/net/tun (module tun)", errno);
    if (error.code == ErrorCode::NotFound) error.code = ErrorCode::Unavailable;
    return fail(std::move(error));
  }
  ifreq request{};
  std::copy_n(name.begin(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1), request.ifr_name);
  request.ifr_flags = flags;
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail(errno_error(fmt::format("attaching to tap {}", name), errno));
  return TapDevice(std::move(fd));
}

Result<TapDevice> TapDevice::create(const std::string& name) { return open(name, static_cast<short>(kTapFlags | kMustBeNew)); }

Result<TapDevice> TapDevice::attach(const std::string& name) { return open(name, kTapFlags); }

Result<void> TapDevice::keep() {
  if (::ioctl(fd_.get(), TUNSETPERSIST, 1) != 0) return fail(errno_error("making the tap persistent", errno));
  return {};
}

Result<void> TapDevice::abandon() {
  if (::ioctl(fd_.get(), TUNSETPERSIST, 0) != 0) return fail(errno_error("making the tap temporary", errno));
  return {};
}

}  // namespace banger::actuators::net
