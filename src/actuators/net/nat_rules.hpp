// SPDX-License-Identifier: Apache-2.0
// The table of one network, as nftables messages and as values: pure, no sockets.
//
//   table ip banger-<short id> {                          comment "banger:uid=<uid>" is the label
//     chain postrouting { type nat hook postrouting priority srcnat; policy accept;
//       ip saddr <cidr> oifname != "<bridge>" masquerade }
//     chain forward { type filter hook forward priority filter; policy accept;
//       iifname "<bridge>" accept
//       oifname "<bridge>" accept }
//   }
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "base/inet.hpp"

namespace banger::actuators::net {

struct NatChain {
  std::string name;
  std::string type;
  std::uint32_t hook = 0;
  std::int32_t priority = 0;
  std::uint32_t policy = 0;
  bool operator==(const NatChain&) const = default;
};
struct NatRule {
  std::string chain;
  std::string program;         // libnftnl's listing of its expressions
  std::string link;            // what it compares an interface name with
  std::optional<Cidr> source;  // what it compares four bytes of the packet with
  bool operator==(const NatRule&) const = default;
};
struct NatTable {
  std::string name;
  std::string comment;
  std::uint32_t flags = 0;
  std::uint32_t uses = 0;  // chains, sets, objects and flow tables in it
  std::vector<NatChain> chains;
  std::vector<NatRule> rules;
  bool operator==(const NatTable&) const = default;
};

struct WantedNat {
  std::string table;
  std::string comment;
  std::string bridge;
  Cidr cidr;
};

// What a dump of the wanted table reads as.
NatTable table_of(const WantedNat& wanted);

// bridge and cidr are filled in only if the table is exactly what we would write for them.
NatView view_of(const NatTable& table);

// One message of a dump, sorted into tables: table messages first, then chains, then rules (other messages and foreign tables'
// are dropped). Only tables of family ip whose name starts with "banger-".
void collect(const nlmsghdr& header, std::vector<NatTable>& tables);

// The whole transaction as one datagram: batch begin bound to this generation of the ruleset, [delete], create, batch end.
struct Batch {
  std::vector<char> bytes;
  std::uint32_t acknowledgements = 0;  // how many messages ask for one
};
Batch replace_batch(const WantedNat& wanted, bool exists, std::uint32_t generation);
Batch delete_batch(const std::string& table, std::uint32_t generation);

// Questions: whole dumps of family ip, and the number of the ruleset's generation.
std::vector<char> ask_tables();
std::vector<char> ask_chains();
std::vector<char> ask_rules();
std::vector<char> ask_generation();
std::optional<std::uint32_t> decode_generation(const nlmsghdr& header);

// The table that an event is about; "" when it is not of family ip or not about a table, chain or rule. The label where the event
// carries it.
struct NatEvent {
  std::string table;
  std::string comment;
};
NatEvent decode_nat_event(const nlmsghdr& header);

}  // namespace banger::actuators::net
