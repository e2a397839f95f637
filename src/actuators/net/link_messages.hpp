// SPDX-License-Identifier: Apache-2.0
// rtnetlink messages to and from values: pure, no sockets.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "base/inet.hpp"

struct nl_msg;

namespace banger::actuators::net {

struct FreeMessage {
  void operator()(nl_msg* message) const;
};
using Message = std::unique_ptr<nl_msg, FreeMessage>;

// --- what is read --------------------------------------------------------------------------------------------------------------
struct LinkRecord {
  LinkView view;  // master and addresses are filled in by whoever has read the other objects
  int master_index = 0;
  std::uint32_t group = 0;
  std::optional<Mac> mac;
  bool spanning_tree = false;       // of a bridge
  std::uint32_t forward_delay = 0;  // of a bridge, in clock ticks
  int family = 0;                   // AF_BRIDGE: a message about a bridge port, with few attributes
  bool operator==(const LinkRecord&) const = default;
};
inline int index_of(const LinkRecord& link) { return static_cast<int>(link.view.index); }
struct AddressRecord {
  int index = 0;
  Cidr address;
  bool operator==(const AddressRecord&) const = default;
};
struct RouteRecord {
  Cidr destination;
  std::vector<int> links;  // one a next hop; empty for blackhole and the like
  bool operator==(const RouteRecord&) const = default;
};

// Nothing for a message of another type, for one too short, and for addresses and routes that are not IPv4 (routes: nor unicast,
// nor of the main table).
std::optional<LinkRecord> decode_link(const nlmsghdr& header);
std::optional<AddressRecord> decode_address(const nlmsghdr& header);
std::optional<RouteRecord> decode_route(const nlmsghdr& header);

// --- what is asked -------------------------------------------------------------------------------------------------------------
Message ask_link(std::string_view name);
Message ask_link(int index);
Message ask_links();
Message ask_addresses(int index);  // 0: of all links
Message ask_routes();

// --- what is changed
// -------------------------------------------------------------------------------------------------------------
struct NewBridge {
  std::string name;
  Mac mac;
  std::int64_t mtu = 1500;
};
struct LinkChange {  // what is absent stays as it is
  std::optional<std::string> alias;
  std::optional<std::int64_t> mtu;
  std::optional<int> master_index;
  std::optional<std::uint32_t> group{};
  std::optional<Mac> mac;
  bool plain_bridge = false;  // spanning tree off, forward delay 0
  bool up = false;            // true: administratively up
  bool operator==(const LinkChange&) const = default;
};
Message create_bridge(const NewBridge& bridge);  // EEXIST when the name is taken
Message change_link(int index, const LinkChange& change);
Message silence_ipv6(int index);  // no link-local address, hence no solicitations
Message delete_link(int index);
Message delete_group(std::uint32_t group);  // every link in it; ENODEV when there is none
Message add_address(int index, Cidr address);
Message delete_address(int index, Cidr address);

}  // namespace banger::actuators::net
