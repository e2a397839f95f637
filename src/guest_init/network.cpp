// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "guest_init/devices.hpp"

namespace banger::guest_init {
namespace {

// netdevice(7): the old ioctls do all that is needed for one address a card.
class Socket {
 public:
  Socket() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    errno = error;
  }
  bool ask(unsigned long request, void* argument) const { return ::ioctl(fd_, request, argument) == 0; }

 private:
  int fd_;
};

ifreq request_for(const std::string& card) {
  ifreq request{};
  std::strncpy(request.ifr_name, card.c_str(), IFNAMSIZ - 1);
  return request;
}

sockaddr address_of(std::uint32_t value) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(value);
  sockaddr out{};
  std::memcpy(&out, &in, sizeof(out));
  return out;
}

bool switch_on(const Socket& socket, const std::string& card) {
  auto request = request_for(card);
  if (!socket.ask(SIOCGIFFLAGS, &request)) return false;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  return socket.ask(SIOCSIFFLAGS, &request);
}

}  // namespace

Problem bring_up_loopback() {
  const Socket socket;
  if (!switch_on(socket, "lo")) return problem("bringing up lo");
  return {};
}

Problem bring_up(const std::string& card, const Nic& nic) {
  const Socket socket;
  auto address = request_for(card);
  address.ifr_addr = address_of(nic.address);
  auto mask = request_for(card);
  mask.ifr_netmask = address_of(nic.prefix == 0 ? 0 : ~std::uint32_t{0} << (32U - nic.prefix));
  if (!socket.ask(SIOCSIFADDR, &address) || !socket.ask(SIOCSIFNETMASK, &mask) || !switch_on(socket, card)) {
    return problem("bringing up " + card);
  }
  return {};
}

Problem add_default_route(std::uint32_t gateway) {
  const Socket socket;
  rtentry route{};
  route.rt_dst = address_of(0);
  route.rt_genmask = address_of(0);
  route.rt_gateway = address_of(gateway);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  if (!socket.ask(SIOCADDRT, &route) && errno != EEXIST) return problem("adding the default route");
  return {};
}

}  // namespace banger::guest_init
