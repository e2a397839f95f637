// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_messages.hpp"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

namespace banger::actuators::net {
namespace {

// --- reading -------------------------------------------------------------------------------------------------------------------
// The attributes of one level by number. Each accessor checks the length: the kernel is trusted, canned bytes in tests are not.
template <int Max>
class Attributes {
 public:
  Attributes(nlattr* first, int length) { nla_parse(table_.data(), Max, first, length, nullptr); }
  explicit Attributes(nlattr* nest) : Attributes(static_cast<nlattr*>(nla_data(nest)), nla_len(nest)) {}

  [[nodiscard]] nlattr* at(int type) const { return table_.at(static_cast<std::size_t>(type)); }
  [[nodiscard]] std::optional<std::uint32_t> u32(int type) const {
    const auto* attribute = at(type);
    if (attribute == nullptr || nla_len(attribute) < 4) return std::nullopt;
    std::uint32_t value = 0;
    std::memcpy(&value, nla_data(attribute), sizeof value);
    return value;
  }
  [[nodiscard]] std::string text(int type) const {
    const auto* attribute = at(type);
    if (attribute == nullptr) return {};
    const std::string_view bytes(static_cast<const char*>(nla_data(attribute)), static_cast<std::size_t>(nla_len(attribute)));
    return std::string(bytes.substr(0, bytes.find('\0')));
  }
  [[nodiscard]] std::optional<Ipv4> ipv4(int type) const {
    const auto value = u32(type);
    if (!value) return std::nullopt;
    return Ipv4{ntohl(*value)};
  }

 private:
  std::array<nlattr*, Max + 1> table_{};
};

// The fixed part after the header, if the message is of this type and long enough.
template <class Fixed>
const Fixed* fixed_part(const nlmsghdr& header, std::initializer_list<int> types) {
  if (std::ranges::find(types, int{header.nlmsg_type}) == types.end()) return nullptr;
  if (!nlmsg_valid_hdr(&header, sizeof(Fixed))) return nullptr;
  return static_cast<const Fixed*>(nlmsg_data(&header));
}

template <int Max, class Fixed>
Attributes<Max> attributes_of(const nlmsghdr& header) {
  return {nlmsg_attrdata(&header, sizeof(Fixed)), nlmsg_attrlen(&header, sizeof(Fixed))};
}

void read_link_info(nlattr* nest, LinkRecord& record) {
  const Attributes<IFLA_INFO_MAX> info(nest);
  record.view.kind = info.text(IFLA_INFO_KIND);
  auto* data = info.at(IFLA_INFO_DATA);
  if (data == nullptr || record.view.kind != "bridge") return;
  const Attributes<IFLA_BR_MAX> bridge(data);
  record.spanning_tree = bridge.u32(IFLA_BR_STP_STATE).value_or(0) != 0;
  record.forward_delay = bridge.u32(IFLA_BR_FORWARD_DELAY).value_or(0);
}

std::vector<int> next_hops(nlattr* multipath) {
  std::vector<int> links;
  std::span<const std::byte> rest(static_cast<const std::byte*>(nla_data(multipath)),
                                  static_cast<std::size_t>(nla_len(multipath)));
  while (rest.size() >= sizeof(rtnexthop)) {
    rtnexthop hop{};
    std::memcpy(&hop, rest.data(), sizeof hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > rest.size()) break;
    links.push_back(hop.rtnh_ifindex);
    rest = rest.subspan(std::min<std::size_t>(rest.size(), RTNH_ALIGN(hop.rtnh_len)));
  }
  return links;
}

// --- writing -------------------------------------------------------------------------------------------------------------------
// Our messages hold a handful of short attributes, far below the page libnl gives a message: running out is a bug.
void must(int failed) {
  if (failed != 0) std::abort();
}

template <class Fixed>
Message message(int type, int flags, Fixed fixed) {
  Message out(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags));
  must(out ? nlmsg_append(out.get(), &fixed, sizeof fixed, NLMSG_ALIGNTO) : -1);
  return out;
}

void put_u32(const Message& out, int type, std::uint32_t value) { must(nla_put_u32(out.get(), type, value)); }
void put_text(const Message& out, int type, std::string_view value) {
  must(nla_put_string(out.get(), type, std::string(value).c_str()));
}
void put_mac(const Message& out, const Mac& mac) { must(nla_put(out.get(), IFLA_ADDRESS, 6, mac.octets.data())); }

template <class Fill>
void put_nest(const Message& out, int type, Fill fill) {
  auto* nest = nla_nest_start(out.get(), type);
  must(nest == nullptr ? -1 : 0);
  fill();
  must(nla_nest_end(out.get(), nest));
}

void put_plain_bridge(const Message& out) {
  put_nest(out, IFLA_LINKINFO, [&] {
    put_text(out, IFLA_INFO_KIND, "bridge");
    put_nest(out, IFLA_INFO_DATA, [&] {
      // In this order: with spanning tree on the kernel refuses a delay of 0.
      put_u32(out, IFLA_BR_STP_STATE, 0);
      put_u32(out, IFLA_BR_FORWARD_DELAY, 0);
    });
  });
}

Message address_message(int type, int flags, int index, Cidr address) {
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = address.prefix;
  fixed.ifa_scope = RT_SCOPE_UNIVERSE;
  fixed.ifa_index = static_cast<std::uint32_t>(index);
  auto out = message(type, flags, fixed);
  put_u32(out, IFA_LOCAL, htonl(address.address.value));
  put_u32(out, IFA_ADDRESS, htonl(address.address.value));
  return out;
}

}  // namespace

void FreeMessage::operator()(nl_msg* message) const { nlmsg_free(message); }

std::optional<LinkRecord> decode_link(const nlmsghdr& header) {
  const auto* fixed = fixed_part<ifinfomsg>(header, {RTM_NEWLINK, RTM_DELLINK});
  if (fixed == nullptr) return std::nullopt;
  const auto attributes = attributes_of<IFLA_MAX, ifinfomsg>(header);
  LinkRecord record;
  record.family = fixed->ifi_family;
  record.view.index = fixed->ifi_index;
  record.view.up = (fixed->ifi_flags & IFF_UP) != 0;
  record.view.name = attributes.text(IFLA_IFNAME);
  record.view.alias = attributes.text(IFLA_IFALIAS);
  record.view.mtu = attributes.u32(IFLA_MTU).value_or(0);
  record.master_index = static_cast<int>(attributes.u32(IFLA_MASTER).value_or(0));
  record.group = attributes.u32(IFLA_GROUP).value_or(0);
  if (const auto* mac = attributes.at(IFLA_ADDRESS); mac != nullptr && nla_len(mac) == 6) {
    std::memcpy(record.mac.emplace().octets.data(), nla_data(mac), 6);
  }
  if (auto* info = attributes.at(IFLA_LINKINFO); info != nullptr) read_link_info(info, record);
  return record;
}

std::optional<AddressRecord> decode_address(const nlmsghdr& header) {
  const auto* fixed = fixed_part<ifaddrmsg>(header, {RTM_NEWADDR, RTM_DELADDR});
  if (fixed == nullptr || fixed->ifa_family != AF_INET || fixed->ifa_prefixlen > 32) return std::nullopt;
  const auto attributes = attributes_of<IFA_MAX, ifaddrmsg>(header);
  auto address = attributes.ipv4(IFA_LOCAL);  // IFA_ADDRESS is the peer's on point-to-point links
  if (!address) address = attributes.ipv4(IFA_ADDRESS);
  if (!address) return std::nullopt;
  return AddressRecord{.index = static_cast<int>(fixed->ifa_index),
                       .address = {.address = *address, .prefix = fixed->ifa_prefixlen}};
}

std::optional<RouteRecord> decode_route(const nlmsghdr& header) {
  const auto* fixed = fixed_part<rtmsg>(header, {RTM_NEWROUTE, RTM_DELROUTE});
  if (fixed == nullptr || fixed->rtm_family != AF_INET || fixed->rtm_dst_len > 32) return std::nullopt;
  const auto attributes = attributes_of<RTA_MAX, rtmsg>(header);
  if (attributes.u32(RTA_TABLE).value_or(fixed->rtm_table) != RT_TABLE_MAIN) return std::nullopt;
  if (fixed->rtm_type == RTN_LOCAL || fixed->rtm_type == RTN_BROADCAST || fixed->rtm_type == RTN_MULTICAST) return std::nullopt;
  RouteRecord record;
  record.destination = {.address = attributes.ipv4(RTA_DST).value_or(Ipv4{}), .prefix = fixed->rtm_dst_len};
  if (const auto link = attributes.u32(RTA_OIF)) record.links.push_back(static_cast<int>(*link));
  if (auto* multipath = attributes.at(RTA_MULTIPATH); multipath != nullptr) record.links = next_hops(multipath);
  return record;
}

Message ask_link(std::string_view name) {
  auto out = message(RTM_GETLINK, 0, ifinfomsg{});
  put_text(out, IFLA_IFNAME, name);
  put_u32(out, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return out;
}

Message ask_link(int index) {
  ifinfomsg fixed{};
  fixed.ifi_index = index;
  auto out = message(RTM_GETLINK, 0, fixed);
  put_u32(out, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return out;
}

Message ask_links() {
  auto out = message(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  put_u32(out, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return out;
}

Message ask_addresses(int index) {
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_index = static_cast<std::uint32_t>(index);
  return message(RTM_GETADDR, NLM_F_DUMP, fixed);
}

Message ask_routes() {
  rtmsg fixed{};
  fixed.rtm_family = AF_INET;
  auto out = message(RTM_GETROUTE, NLM_F_DUMP, fixed);
  put_u32(out, RTA_TABLE, RT_TABLE_MAIN);
  return out;
}

Message create_bridge(const NewBridge& bridge) {
  auto out = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  put_text(out, IFLA_IFNAME, bridge.name);
  put_mac(out, bridge.mac);
  put_u32(out, IFLA_MTU, static_cast<std::uint32_t>(bridge.mtu));
  put_plain_bridge(out);
  return out;
}

Message change_link(int index, const LinkChange& change) {
  ifinfomsg fixed{};
  fixed.ifi_index = index;
  if (change.up) fixed.ifi_flags = fixed.ifi_change = IFF_UP;
  auto out = message(RTM_NEWLINK, 0, fixed);
  if (change.mac) put_mac(out, *change.mac);
  if (change.mtu) put_u32(out, IFLA_MTU, static_cast<std::uint32_t>(*change.mtu));
  if (change.alias) put_text(out, IFLA_IFALIAS, *change.alias);
  if (change.master_index) put_u32(out, IFLA_MASTER, static_cast<std::uint32_t>(*change.master_index));
  if (change.group) put_u32(out, IFLA_GROUP, *change.group);
  if (change.plain_bridge) put_plain_bridge(out);
  return out;
}

Message silence_ipv6(int index) {
  ifinfomsg fixed{};
  fixed.ifi_index = index;
  auto out = message(RTM_NEWLINK, 0, fixed);
  put_nest(out, IFLA_AF_SPEC, [&] {
    put_nest(out, AF_INET6, [&] { must(nla_put_u8(out.get(), IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)); });
  });
  return out;
}

Message delete_link(int index) {
  ifinfomsg fixed{};
  fixed.ifi_index = index;
  return message(RTM_DELLINK, 0, fixed);
}

Message delete_group(std::uint32_t group) {
  auto out = message(RTM_DELLINK, 0, ifinfomsg{});
  put_u32(out, IFLA_GROUP, group);
  return out;
}

Message add_address(int index, Cidr address) {
  auto out = address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address);
  if (address.prefix < 31) put_u32(out, IFA_BROADCAST, htonl(address.address.value | ~netmask(address.prefix)));
  return out;
}

Message delete_address(int index, Cidr address) { return address_message(RTM_DELADDR, 0, index, address); }

}  // namespace banger::actuators::net
