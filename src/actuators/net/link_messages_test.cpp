// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_messages.hpp"

#include <doctest/doctest.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>

#include <cstring>
#include <vector>

#include "actuators/net/link_reader.hpp"
#include "actuators/net/nat_rules.hpp"
#include "actuators/net/route_socket.hpp"
#include "actuators/net/watcher.hpp"
#include "base/random.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::net;

namespace {

// A netlink message written byte by byte, independent of the library under the decoders.
class Canned {
 public:
  template <class Fixed>
  Canned(int type, const Fixed& fixed) : bytes_(sizeof(nlmsghdr)) {
    append(&fixed, sizeof fixed);
    header().nlmsg_type = static_cast<std::uint16_t>(type);
  }
  Canned& put(int type, const std::string& payload) {
    const nlattr attribute{.nla_len = static_cast<std::uint16_t>(sizeof(nlattr) + payload.size()),
                           .nla_type = static_cast<std::uint16_t>(type)};
    append(&attribute, sizeof attribute);
    append(payload.data(), payload.size());
    return *this;
  }
  Canned& put(int type, std::uint32_t value) { return put(type, std::string(reinterpret_cast<const char*>(&value), 4)); }
  Canned& put(int type, std::initializer_list<std::uint8_t> octets) {
    return put(type, std::string(octets.begin(), octets.end()));
  }
  // The attributes so far, as the payload of a nest.
  [[nodiscard]] std::string attributes(std::size_t fixed) const {
    return {bytes_.begin() + static_cast<std::ptrdiff_t>(sizeof(nlmsghdr) + fixed), bytes_.end()};
  }
  [[nodiscard]] const nlmsghdr& message() {
    header().nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
    return header();
  }
  std::vector<char>& bytes() {
    (void)message();
    return bytes_;
  }

 private:
  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  void append(const void* data, std::size_t length) {
    const auto* first = static_cast<const char*>(data);
    bytes_.insert(bytes_.end(), first, first + length);
    bytes_.resize((bytes_.size() + 3) & ~std::size_t{3});
  }
  std::vector<char> bytes_;
};

ifinfomsg link_header() {
  ifinfomsg fixed{};
  fixed.ifi_index = 7;
  fixed.ifi_flags = IFF_UP | IFF_BROADCAST;
  return fixed;
}

Canned canned_bridge() {
  Canned data(0, ifinfomsg{});
  data.put(IFLA_BR_FORWARD_DELAY, 1500U).put(IFLA_BR_STP_STATE, 1U);
  Canned info(0, ifinfomsg{});
  info.put(IFLA_INFO_KIND, std::string("bridge\0", 7)).put(IFLA_INFO_DATA, data.attributes(sizeof(ifinfomsg)));
  Canned link(RTM_NEWLINK, link_header());
  link.put(IFLA_IFNAME, std::string("br0\0", 4))
      .put(IFLA_MTU, 1400U)
      .put(IFLA_MASTER, 3U)
      .put(IFLA_ADDRESS, {2, 0, 0, 0, 0, 9})
      .put(IFLA_IFALIAS, std::string("hello\0", 6))
      .put(IFLA_LINKINFO, info.attributes(sizeof(ifinfomsg)));
  return link;
}

}  // namespace

TEST_CASE("a link message becomes a record") {
  auto canned = canned_bridge();
  const auto record = decode_link(canned.message());
  REQUIRE(record);
  CHECK(record->view.name == "br0");
  CHECK(record->view.index == 7);
  CHECK(record->view.kind == "bridge");
  CHECK(record->view.alias == "hello");
  CHECK(record->view.up);
  CHECK(record->view.mtu == 1400);
  CHECK(record->master_index == 3);
  CHECK(record->mac == parse_mac("02:00:00:00:00:09"));
  CHECK(record->spanning_tree);
  CHECK(record->forward_delay == 1500);
}

TEST_CASE("attributes that are missing, short or not ended leave their fields empty") {
  Canned canned(RTM_NEWLINK, link_header());
  canned.put(IFLA_IFNAME, std::string("x")).put(IFLA_MTU, {1, 2}).put(IFLA_ADDRESS, {1, 2, 3}).put(IFLA_LINKINFO, {1});
  const auto record = decode_link(canned.message());
  REQUIRE(record);
  CHECK(record->view.name == "x");  // no terminating zero
  CHECK(record->view.mtu == 0);
  CHECK_FALSE(record->mac);
  CHECK(record->view.kind.empty());
}

TEST_CASE("messages that are cut anywhere or changed anywhere never lead a decoder outside them") {
  auto canned = canned_bridge();
  for (std::size_t length = 0; length <= canned.bytes().size(); ++length) {
    std::vector<char> cut(canned.bytes().begin(), canned.bytes().begin() + static_cast<std::ptrdiff_t>(length));
    cut.resize(std::max(cut.size(), sizeof(nlmsghdr)));
    auto& header = *reinterpret_cast<nlmsghdr*>(cut.data());
    header.nlmsg_len = static_cast<std::uint32_t>(std::max(length, sizeof(nlmsghdr)));
    (void)decode_link(header);
  }
  SeededRandom random(11);
  for (int i = 0; i < 20'000; ++i) {
    auto changed = canned.bytes();
    std::array<std::uint8_t, 4> dice{};
    random.fill(dice);
    changed[sizeof(nlmsghdr) + (dice[0] | (dice[1] & 1U) << 8U) % (changed.size() - sizeof(nlmsghdr))] =
        static_cast<char>(dice[2]);
    auto& header = *reinterpret_cast<nlmsghdr*>(changed.data());
    (void)decode_link(header);
    header.nlmsg_type = RTM_NEWROUTE;
    (void)decode_route(header);
    header.nlmsg_type = RTM_NEWADDR;
    (void)decode_address(header);
    HintFilter filter;
    (void)filter.on_route_message(header);
    // Not table messages: libnftnl itself ends the process when the kernel breaks its promises about those.
    for (const int type : {NFT_MSG_NEWGEN, NFT_MSG_NEWRULE, NFT_MSG_DELCHAIN}) {
      header.nlmsg_type = static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type);
      changed[sizeof(nlmsghdr)] = 2;  // NFPROTO_IPV4
      (void)filter.on_nft_message(header);
      (void)decode_generation(header);
    }
  }
}

TEST_CASE("addresses are IPv4 and local, whatever the peer") {
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = 24;
  fixed.ifa_index = 5;
  Canned canned(RTM_NEWADDR, fixed);
  canned.put(IFA_ADDRESS, {10, 0, 0, 2}).put(IFA_LOCAL, {10, 0, 0, 1});
  CHECK(decode_address(canned.message()) == AddressRecord{.index = 5, .address = parse_cidr("10.0.0.1/24").value()});
  fixed.ifa_family = AF_INET6;
  CHECK_FALSE(decode_address(Canned(RTM_NEWADDR, fixed).message()));
  fixed.ifa_family = AF_INET;
  CHECK_FALSE(decode_address(Canned(RTM_NEWADDR, fixed).message()));  // without an address
  fixed.ifa_prefixlen = 33;
  CHECK_FALSE(decode_address(Canned(RTM_NEWADDR, fixed).put(IFA_LOCAL, {10, 0, 0, 1}).message()));
}

TEST_CASE("routes of the main table are read, others are not") {
  rtmsg fixed{};
  fixed.rtm_family = AF_INET;
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_type = RTN_UNICAST;
  CHECK(decode_route(Canned(RTM_NEWROUTE, fixed).put(RTA_OIF, 4U).message()) ==
        RouteRecord{.destination = parse_cidr("0.0.0.0/0").value(), .links = {4}});
  fixed.rtm_dst_len = 16;
  Canned multipath(RTM_NEWROUTE, fixed);
  const rtnexthop first{.rtnh_len = sizeof(rtnexthop), .rtnh_flags = 0, .rtnh_hops = 0, .rtnh_ifindex = 4};
  auto second = first;
  second.rtnh_ifindex = 6;
  std::string hops(reinterpret_cast<const char*>(&first), sizeof first);
  hops.append(reinterpret_cast<const char*>(&second), sizeof second);
  multipath.put(RTA_DST, {172, 16, 0, 0}).put(RTA_MULTIPATH, hops);
  CHECK(decode_route(multipath.message()) == RouteRecord{.destination = parse_cidr("172.16.0.0/16").value(), .links = {4, 6}});
  CHECK_FALSE(decode_route(Canned(RTM_NEWROUTE, fixed).put(RTA_TABLE, 300U).message()));
  fixed.rtm_type = RTN_BLACKHOLE;
  CHECK(decode_route(Canned(RTM_NEWROUTE, fixed).put(RTA_DST, {172, 16, 0, 0}).message())->links.empty());
  fixed.rtm_type = RTN_LOCAL;
  CHECK_FALSE(decode_route(Canned(RTM_NEWROUTE, fixed).put(RTA_DST, {172, 16, 0, 1}).message()));
}

TEST_CASE("views name their masters and carry their addresses, in index order") {
  const auto views = views_of({{.view = {.name = "tap", .index = 3}, .master_index = 2},
                               {.view = {.name = "br", .index = 2}},
                               {.view = {.name = "odd", .index = 4}, .master_index = 99}},
                              {{.index = 2, .address = parse_cidr("10.0.0.1/24").value()},
                               {.index = 2, .address = parse_cidr("10.0.1.1/24").value()},
                               {.index = 50, .address = parse_cidr("10.0.2.1/24").value()}});
  REQUIRE(views.size() == 3);
  CHECK(views[0].name == "br");
  CHECK(views[0].addresses == std::vector<std::string>{"10.0.0.1/24", "10.0.1.1/24"});
  CHECK(views[1].master == "br");
  CHECK(views[2].master.empty());
}

TEST_CASE("the kernel's own sentence is taken from an error message") {
  nlmsgerr error{};
  error.error = -22;
  error.msg.nlmsg_len = sizeof(nlmsghdr);
  Canned canned(NLMSG_ERROR, error);
  canned.put(NLMSGERR_ATTR_MSG, std::string("Device is a \x1b master\0", 21));
  auto& header = *reinterpret_cast<nlmsghdr*>(canned.bytes().data());
  CHECK(kernel_sentence(header).empty());  // not flagged
  header.nlmsg_flags = NLM_F_ACK_TLVS;
  CHECK(kernel_sentence(header) == "Device is a \\x1b master");
}

TEST_CASE("hints name the owner where it is known") {
  const std::string uid = "1b5e6f6a-1111-4222-8333-444455556666";
  HintFilter filter;
  const auto link = [](int type, int index, const std::string& name, const std::string& alias, int family = AF_UNSPEC) {
    auto fixed = link_header();
    fixed.ifi_index = index;
    fixed.ifi_family = static_cast<std::uint8_t>(family);
    Canned canned(type, fixed);
    canned.put(IFLA_IFNAME, name);
    if (!alias.empty()) canned.put(IFLA_IFALIAS, alias);
    return canned;
  };
  const auto ask = [&](Canned canned) { return filter.on_route_message(canned.message()); };
  CHECK_FALSE(ask(link(RTM_NEWLINK, 9, "bgrxxxxxxxxxx-0", "")));  // ours to be, or nobody's business
  CHECK(ask(link(RTM_NEWLINK, 9, "bgrxxxxxxxxxx-0", "banger:uid=" + uid)) == uid);
  CHECK_FALSE(ask(link(RTM_NEWLINK, 9, "bgrxxxxxxxxxx-0", "banger:uid=" + uid)));  // nothing new
  CHECK_FALSE(ask(link(RTM_NEWLINK, 9, "bgrxxxxxxxxxx-0", "", AF_BRIDGE)));
  CHECK(ask(link(RTM_DELLINK, 9, "bgrxxxxxxxxxx-0", "", AF_BRIDGE)) == uid);  // it left its bridge
  CHECK(ask(link(RTM_NEWLINK, 9, "bgrxxxxxxxxxx-0", "")) == uid);             // it lost its label
  CHECK(ask(link(RTM_DELLINK, 9, "bgrxxxxxxxxxx-0", "")) == "");
  CHECK(ask(link(RTM_NEWLINK, 4, "veth0", "")) == "");
  CHECK_FALSE(ask(link(RTM_NEWLINK, 4, "veth0", "")));  // a foreign link that merely changes
  CHECK(ask(link(RTM_DELLINK, 4, "veth0", "")) == "");
  filter.learn({{.view = {.index = 12, .alias = "banger:uid=" + uid}}}, {});
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_index = 12;
  CHECK(ask(Canned(RTM_DELADDR, fixed).put(IFA_LOCAL, {10, 0, 0, 1})) == uid);

  filter = HintFilter([](int index) { return index == 20; });
  CHECK_FALSE(ask(link(RTM_NEWLINK, 20, "bgryyyyyyyyyy-0", "banger:uid=" + uid)));  // we remove it
  CHECK_FALSE(ask(link(RTM_DELLINK, 20, "bgryyyyyyyyyy-0", "", AF_BRIDGE)));
  CHECK(ask(link(RTM_DELLINK, 20, "bgryyyyyyyyyy-0", "banger:uid=" + uid)) == uid);
}
