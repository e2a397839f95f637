// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/test_support.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>

#include "actuators/names.hpp"

namespace banger::actuators::net {

bool skip_without_fresh_namespace() {
  if (::geteuid() == 0 && ::unshare(CLONE_NEWNET) == 0) return false;
  MESSAGE("skipped: a private network namespace needs root");
  return true;
}

bool skip_without_nft() {
  if (::access("/usr/sbin/nft", X_OK) == 0) return false;
  MESSAGE("skipped: nft is not installed");
  return true;
}

std::string label_of(const std::string& uid) { return label_text({.uid = uid, .instance = kInstance, .of = kOf}); }

MakeBridge bridge_step() {
  return {.network_uid = kNetworkUid, .name = bridge_name(kNetworkUid), .address = "10.9.0.1/24", .mtu = 1500, .of = kOf};
}
MakeTap tap_step() {
  return {.vm_uid = kVmUid, .name = tap_name(kVmUid, 0), .bridge = bridge_name(kNetworkUid), .mtu = 1500, .of = kOf};
}
WriteNat nat_step() {
  return {.network_uid = kNetworkUid,
          .table = nat_table_name(kNetworkUid),
          .bridge = bridge_name(kNetworkUid),
          .cidr = "10.9.0.0/24",
          .of = kOf};
}

std::unique_ptr<NetActuator> open_net() {
  auto net = NetActuator::open(kInstance);
  REQUIRE_MESSAGE(net, net.error().message);
  return *std::move(net);
}

LinkView link_of(NetActuator& net, const std::string& name) {
  auto link = net.link(name);
  REQUIRE_MESSAGE(link, link.error().message);
  REQUIRE(link->has_value());
  return **link;
}

std::vector<NatView> nat_views(NetActuator& net) {
  auto views = net.nat_tables();
  REQUIRE_MESSAGE(views, views.error().message);
  return *std::move(views);
}

UniqueFd open_tap(const std::string& name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  REQUIRE(fd.valid());
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  REQUIRE(::ioctl(fd.get(), TUNSETIFF, &request) == 0);
  return fd;
}

void make_foreign_tap(const std::string& name) {
  const auto fd = open_tap(name);
  REQUIRE(::ioctl(fd.get(), TUNSETPERSIST, 1) == 0);
}

void delete_tap_behind_our_back(const std::string& name) {
  const auto fd = open_tap(name);
  REQUIRE(::ioctl(fd.get(), TUNSETPERSIST, 0) == 0);
}

void make_foreign_bridge(const std::string& name) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  REQUIRE(::ioctl(fd.get(), SIOCBRADDBR, name.c_str()) == 0);
}

std::string nft(const std::vector<std::string>& words) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::vector<std::string> copies{"nft"};
  copies.insert(copies.end(), words.begin(), words.end());
  std::vector<char*> argv;
  for (auto& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(writer.get(), STDOUT_FILENO);
    ::dup2(writer.get(), STDERR_FILENO);
    ::execv("/usr/sbin/nft", argv.data());
    ::_exit(127);
  }
  writer.reset();
  std::string text;
  std::array<char, 4096> chunk{};
  for (ssize_t got = 0; (got = ::read(reader.get(), chunk.data(), chunk.size())) > 0;) {
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  REQUIRE_MESSAGE(status == 0, text);
  return text;
}

}  // namespace banger::actuators::net
