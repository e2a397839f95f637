// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>

#include "actuators/names.hpp"
#include "actuators/net/nat_rules.hpp"
#include "actuators/net/nft_socket.hpp"
#include "actuators/net/test_support.hpp"
#include "base/files.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::net;

namespace {

constexpr const char* kForwarding = "/proc/sys/net/ipv4/ip_forward";

void write_forwarding(std::string_view value) {
  const UniqueFd fd(::open(kForwarding, O_WRONLY | O_CLOEXEC));
  REQUIRE(write_all(fd.get(), value));
}

NatView wanted_view() {
  const auto step = nat_step();
  return {.table = step.table,
          .comment = label_of(step.network_uid),
          .owner = step.network_uid,
          .bridge = step.bridge,
          .cidr = step.cidr};
}

bool anybody(const std::string&) { return true; }

NatView altered_view() {
  auto view = wanted_view();
  view.bridge.clear();
  view.cidr.clear();
  return view;
}

WantedNat wanted_nat() {
  return {.table = nat_step().table,
          .comment = label_of(kNetworkUid),
          .bridge = nat_step().bridge,
          .cidr = parse_cidr(nat_step().cidr).value()};
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the wanted table reads as itself, and any change to it shows") {
  const auto table = table_of(wanted_nat());
  auto wanted = wanted_view();
  wanted.owner.clear();  // whose label it is, is for the actuator to say
  CHECK(view_of(table) == wanted);
  for (const auto* cidr : {"10.0.0.0/8", "172.16.0.0/12", "192.168.7.8/29", "10.1.2.3/32", "128.0.0.0/1"}) {
    auto other = wanted_nat();
    other.cidr = parse_cidr(cidr).value();
    CHECK(view_of(table_of(other)).cidr == cidr);
  }
  const auto shows = [&](auto change) {
    auto changed = table;
    change(changed);
    return view_of(changed).bridge.empty() && view_of(changed).cidr.empty();
  };
  CHECK(shows([](NatTable& t) { t.flags = 1; }));
  CHECK(shows([](NatTable& t) { t.uses += 1; }));
  CHECK(shows([](NatTable& t) { t.rules.pop_back(); }));
  CHECK(shows([](NatTable& t) { t.rules.clear(); }));
  CHECK(shows([](NatTable& t) { t.rules.push_back(t.rules.back()); }));
  CHECK(shows([](NatTable& t) { std::swap(t.rules[1], t.rules[2]); }));
  CHECK(shows([](NatTable& t) { t.chains.pop_back(); }));
  CHECK(shows([](NatTable& t) { t.chains[0].policy = NF_DROP; }));
  CHECK(shows([](NatTable& t) { t.chains[1].priority = 10; }));
  CHECK(shows([](NatTable& t) { t.rules[0].program += "counter\n"; }));
  CHECK_FALSE(shows([](NatTable& t) { std::swap(t.chains[0], t.chains[1]); }));
}

TEST_CASE("a network's table is written whole, left alone when it is right, and removed") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  write_forwarding("0\n");
  CHECK(net->forwarding() == false);
  CHECK(nat_views(*net).empty());
  CHECK(net->apply(nat_step()) == Applied::Changed);
  CHECK(net->apply(nat_step()) == Applied::Unchanged);
  CHECK(net->forwarding() == true);
  CHECK(nat_views(*net) == std::vector<NatView>{wanted_view()});

  write_forwarding("0\n");
  CHECK(net->apply(nat_step()) == Applied::Changed);
  CHECK(net->forwarding() == true);

  const RemoveNat remove{.network_uid = kNetworkUid, .table = nat_step().table};
  CHECK(net->apply(remove) == Applied::Changed);
  CHECK(net->apply(remove) == Applied::Unchanged);
  CHECK(nat_views(*net).empty());
}

TEST_CASE("another range or bridge replaces the rules; networks do not disturb each other") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  REQUIRE(net->apply(nat_step()));
  const WriteNat other{.network_uid = kOtherUid, .table = nat_table_name(kOtherUid), .bridge = "br-b", .cidr = "172.20.0.0/16"};
  REQUIRE(net->apply(other));
  auto step = nat_step();
  step.cidr = "10.10.0.0/22";
  step.bridge = "br-a";
  CHECK(net->apply(step) == Applied::Changed);
  CHECK(net->apply(step) == Applied::Unchanged);
  CHECK(net->apply(other) == Applied::Unchanged);
  const auto views = nat_views(*net);
  REQUIRE(views.size() == 2);
  for (const auto& view : views) {
    CHECK(view.cidr == (view.table == step.table ? step.cidr : other.cidr));
    CHECK(view.bridge == (view.table == step.table ? step.bridge : other.bridge));
  }
  step.cidr = "10.10.0.5/22";  // host bits do not make another network
  CHECK(net->apply(step) == Applied::Unchanged);
}

TEST_CASE("a table of our name without our label is left as it is") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto foreign = NftSocket::open().value();
  auto theirs = wanted_nat();
  theirs.comment = "somebody's";
  REQUIRE(foreign->write(theirs, anybody));
  const auto before = nat_views(*net);
  const auto message = "NameConflict: nft table ip " + theirs.table + " exists and is not ours (comment \"somebody's\")";
  const auto written = net->apply(nat_step());
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::Conflict);
  CHECK(written.error().message == message);
  CHECK(net->apply(RemoveNat{.network_uid = kNetworkUid, .table = theirs.table}).error().message == message);
  CHECK(nat_views(*net) == before);
}

TEST_CASE("a table that another daemon labelled is left as it is, one labelled before labels told the daemon is ours and kept") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto foreign = NftSocket::open().value();
  auto table = wanted_nat();
  table.comment = label_text({kNetworkUid, kOtherInstance, kOf});
  REQUIRE(foreign->write(table, anybody));
  CHECK(nat_views(*net).at(0).owner.empty());
  CHECK(net->apply(nat_step()).error().code == ErrorCode::Conflict);
  CHECK(net->apply(RemoveNat{.network_uid = kNetworkUid, .table = table.table}).error().code == ErrorCode::Conflict);
  REQUIRE(foreign->remove(table.table, anybody));

  table.comment = label_text({.uid = kNetworkUid});
  REQUIRE(foreign->write(table, anybody));
  CHECK(net->apply(nat_step()).has_value());  // forwarding may have to be switched on; the table is left alone
  CHECK(nat_views(*net).at(0).comment == table.comment);
  CHECK(nat_views(*net).at(0).owner == kNetworkUid);
  CHECK(net->apply(RemoveNat{.network_uid = kNetworkUid, .table = table.table}) == Applied::Changed);
}

TEST_CASE("the longest label fits a table, and nft shows it whole") {
  if (skip_without_nft() || skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto step = nat_step();
  step.of = api::ObjectKey{api::Kind::Network, "", std::string(181, 'n')};
  const auto label = label_text({kNetworkUid, kInstance, step.of});
  CHECK(label.size() == kMaxLabel);
  REQUIRE(net->apply(step));
  CHECK(nat_views(*net).at(0).comment == label);
  CHECK(contains(nft({"list", "ruleset"}), label));
}

TEST_CASE("a step that names a table we would not give, or a range that is none, is refused") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto step = nat_step();
  step.table = "filter";
  CHECK(net->apply(step).error().code == ErrorCode::Invalid);
  CHECK(net->apply(RemoveNat{.network_uid = kNetworkUid, .table = "filter"}).error().code == ErrorCode::Invalid);
  for (const auto* cidr : {"", "10.9.0.0", "0.0.0.0/0", "10.9.0.0/33", "10.9.0.0/24; drop"}) {
    step = nat_step();
    step.cidr = cidr;
    CHECK(net->apply(step).error().code == ErrorCode::Invalid);
  }
  CHECK(nat_views(*net).empty());
}

TEST_CASE("a transaction bound to another generation changes nothing") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  REQUIRE(net->apply(nat_step()));
  auto* socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  REQUIRE(socket != nullptr);
  REQUIRE(mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0);
  auto other = wanted_nat();
  other.bridge = "br-late";
  const auto batch = replace_batch(other, true, 4711);
  CHECK(batch.acknowledgements == 7);  // delete, table, two chains, three rules
  REQUIRE(mnl_socket_sendto(socket, batch.bytes.data(), batch.bytes.size()) > 0);
  std::array<char, 8192> answer{};
  const auto got = mnl_socket_recvfrom(socket, answer.data(), answer.size());
  REQUIRE(got > 0);
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer.data());
  CHECK(header->nlmsg_type == NLMSG_ERROR);
  CHECK(static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error == -ERESTART);
  mnl_socket_close(socket);
  CHECK(nat_views(*net) == std::vector<NatView>{wanted_view()});
}

TEST_CASE("nft shows the table as a person would have written it") {
  if (skip_without_nft() || skip_without_fresh_namespace()) return;
  const auto net = open_net();
  REQUIRE(net->apply(nat_step()));
  const auto bridge = nat_step().bridge;
  CHECK(nft({"list", "ruleset"}) == "table ip " + nat_step().table + " {\n\tcomment \"" + label_of(kNetworkUid) +
                                        "\"\n"
                                        "\tchain postrouting {\n"
                                        "\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
                                        "\t\tip saddr 10.9.0.0/24 oifname != \"" +
                                        bridge +
                                        "\" masquerade\n"
                                        "\t}\n\n"
                                        "\tchain forward {\n"
                                        "\t\ttype filter hook forward priority filter; policy accept;\n"
                                        "\t\tiifname \"" +
                                        bridge + "\" accept\n\t\toifname \"" + bridge + "\" accept\n\t}\n}\n");
}

TEST_CASE("a flush or an edit with nft is seen and repaired, and other tables stay") {
  if (skip_without_nft() || skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto table = nat_step().table;
  nft({"add table ip users { chain c { ip saddr 10.9.0.0/24 accept; }; }"});
  const auto users = nft({"list", "table", "ip", "users"});
  REQUIRE(net->apply(nat_step()));
  const std::vector<std::string> edits{"add rule ip " + table + " forward drop",
                                       "insert rule ip " + table + " postrouting accept",
                                       "flush chain ip " + table + " postrouting",
                                       "flush table ip " + table,
                                       "add chain ip " + table + " extra",
                                       "add set ip " + table + " s { type ipv4_addr; }",
                                       "add chain ip " + table + " forward { policy drop; }"};
  for (const auto& edit : edits) {
    CAPTURE(edit);
    nft({edit});
    CHECK(nat_views(*net) == std::vector<NatView>{altered_view()});
    CHECK(net->apply(nat_step()) == Applied::Changed);
    CHECK(nat_views(*net) == std::vector<NatView>{wanted_view()});
    CHECK(nft({"list", "table", "ip", "users"}) == users);
  }
  nft({"flush", "ruleset"});
  CHECK(nat_views(*net).empty());
  CHECK(net->apply(nat_step()) == Applied::Changed);
  CHECK(contains(nft({"list", "ruleset"}), "masquerade"));
}

TEST_CASE("what nft itself writes in our form counts as ours only with our label") {
  if (skip_without_nft() || skip_without_fresh_namespace()) return;
  const auto net = open_net();
  nft({"add table ip " + nat_step().table + " { comment \"" + label_of(kNetworkUid) + "\"; }"});
  CHECK(nat_views(*net) == std::vector<NatView>{altered_view()});
  CHECK(net->apply(nat_step()) == Applied::Changed);
  nft({"delete", "table", "ip", nat_step().table});
  nft({"add", "table", "ip", nat_step().table});
  CHECK(net->apply(nat_step()).error().code == ErrorCode::Conflict);
  nft({"add", "table", "inet", "banger-elsewhere"});
  CHECK(nat_views(*net).size() == 1);
}
