// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_names.hpp"

#include <fmt/format.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace banger::actuators::net {

Result<LinkNames> LinkNames::open() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail(errno_error("opening a socket for names of links", errno));
  return LinkNames(std::move(fd));
}

Result<std::optional<int>> LinkNames::index_of(const std::string& name) const {
  ifreq request{};
  std::copy_n(name.begin(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1), request.ifr_name);
  if (::ioctl(fd_.get(), SIOCGIFINDEX, &request) == 0) return std::optional(request.ifr_ifindex);
  if (errno == ENODEV) return std::optional<int>{};
  return fail(errno_error(fmt::format("looking for link {}", name), errno));
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
