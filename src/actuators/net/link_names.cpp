// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_names.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace banger::actuators::net {

Result<LinkNames> LinkNames::open() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail(errno_error("opening a socket for names of links", errno));
  return LinkNames(std::move(fd));
}

// Not SIOCGIFINDEX: for a name that no link has, the kernel runs modprobe in the middle of that call (dev_load in
// net/core/dev_ioctl.c). Binding a socket to a name looks the name up and does nothing else.
Result<std::optional<int>> LinkNames::index_of(const std::string& name) const {
  if (name.empty() || name.size() >= IFNAMSIZ) return std::optional<int>{};  // the kernel would cut it
  const std::scoped_lock lock(*one_at_a_time_);
  if (::setsockopt(fd_.get(), SOL_SOCKET, SO_BINDTODEVICE, name.data(), static_cast<socklen_t>(name.size())) != 0) {
    if (errno == ENODEV) return std::optional<int>{};
    return fail(errno_error(fmt::format("looking for link {}", name), errno));
  }
  int index = 0;
  socklen_t size = sizeof index;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_BINDTOIFINDEX, &index, &size) != 0)
    return fail(errno_error(fmt::format("looking for link {}", name), errno));
  return std::optional(index);
}

Result<std::optional<std::string>> LinkNames::name_of(int index) const {
  ifreq request{};
  request.ifr_ifindex = index;
  if (::ioctl(fd_.get(), SIOCGIFNAME, &request) == 0)
    return std::optional(std::string(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ)));
  if (errno == ENODEV) return std::optional<std::string>{};
  return fail(errno_error(fmt::format("looking for link {}", index), errno));
}

}  // namespace banger::actuators::net
