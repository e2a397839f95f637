// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_steps.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <thread>
#include <vector>

#include "actuators/names.hpp"
#include "actuators/net/link_reader.hpp"
#include "actuators/net/tap_device.hpp"
#include "actuators/net/test_support.hpp"
#include "base/random.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::net;

namespace {

RouteSocket open_socket() {
  auto socket = RouteSocket::open();
  REQUIRE(socket);
  return *std::move(socket);
}

int index_of(NetActuator& net, const std::string& name) { return static_cast<int>(link_of(net, name).index); }

void check_conflict(const Result<Applied>& result, std::string_view message) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::Conflict);
  CHECK(result.error().message == message);
}

}  // namespace

TEST_CASE("a bridge is made labelled, addressed and up, and left alone when it is right") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto step = bridge_step();
  CHECK(net->apply(step) == Applied::Changed);
  CHECK(net->apply(step) == Applied::Unchanged);
  const auto link = link_of(*net, step.name);
  CHECK(link == LinkView{.name = step.name,
                         .index = link.index,
                         .kind = "bridge",
                         .alias = label_of(kNetworkUid),
                         .owner = kNetworkUid,
                         .master = "",
                         .up = true,
                         .mtu = 1500,
                         .addresses = {"10.9.0.1/24"}});
  auto socket = open_socket();
  const auto record = read_link(socket, step.name).value().value();
  CHECK_FALSE(record.spanning_tree);
  CHECK(record.forward_delay == 0);
  CHECK(to_string(record.mac.value()) == mac_of(kNetworkUid, 0));
}

TEST_CASE("whatever is changed on a bridge behind our back is repaired") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto step = bridge_step();
  REQUIRE(net->apply(step));
  const int index = index_of(*net, step.name);
  auto socket = open_socket();
  const auto before = link_of(*net, step.name);

  const auto check_repair = [&](const Message& damage) {
    const auto done = socket.change(damage, "damaging");
    REQUIRE_MESSAGE(done, done.error().message);
    CHECK(link_of(*net, step.name) != before);
    CHECK(net->apply(step) == Applied::Changed);
    CHECK(link_of(*net, step.name) == before);
    CHECK(net->apply(step) == Applied::Unchanged);
  };
  check_repair(change_link(index, {.mtu = 1400}));
  check_repair(delete_address(index, parse_cidr("10.9.0.1/24").value()));
  check_repair(add_address(index, parse_cidr("10.9.0.2/24").value()));
  check_repair(add_address(index, parse_cidr("172.20.0.1/16").value()));

  const auto mac = parse_mac("02:00:00:00:00:99");
  REQUIRE(socket.change(change_link(index, {.mac = mac}), "damaging"));
  CHECK(net->apply(step) == Applied::Changed);
  CHECK(read_link(socket, index).value().value().mac != mac);
}

TEST_CASE("a bridge gets another address and MTU when its network does") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto step = bridge_step();
  REQUIRE(net->apply(step));
  for (const auto* address : {"10.9.0.254/24", "10.9.0.254/25", "192.168.77.1/29", "10.9.0.1/24"}) {
    step.address = address;
    step.mtu -= 10;
    CHECK(net->apply(step) == Applied::Changed);
    CHECK(net->apply(step) == Applied::Unchanged);
    const auto link = link_of(*net, step.name);
    CHECK(link.addresses == std::vector<std::string>{address});
    CHECK(link.mtu == step.mtu);
  }
}

TEST_CASE("a foreign bridge is never taken over, changed or removed") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto step = bridge_step();
  step.name = "br-users";
  make_foreign_bridge(step.name);
  const auto before = link_of(*net, step.name);
  const std::string message = "NameConflict: link br-users exists and is not ours (alias \"\")";
  check_conflict(net->apply(step), message);
  check_conflict(net->apply(RemoveLink{.owner_uid = kNetworkUid, .name = step.name}), message);
  auto tap = tap_step();
  tap.bridge = step.name;
  check_conflict(net->apply(tap), message);
  CHECK_FALSE(net->link(tap.name).value());
  CHECK(link_of(*net, step.name) == before);

  auto socket = open_socket();
  REQUIRE(socket.change(change_link(index_of(*net, step.name), {.alias = "uplink \x1b[31m"}), "labelling"));
  check_conflict(net->apply(step), "NameConflict: link br-users exists and is not ours (alias \"uplink \\x1b[31m\")");

  // Another network's bridge is as foreign as anybody's, and so is a link of another kind under our label.
  REQUIRE(net->apply(bridge_step()));
  auto thief = bridge_step();
  thief.network_uid = kOtherUid;
  CHECK(net->apply(thief).error().code == ErrorCode::Conflict);
  CHECK(net->apply(RemoveLink{.owner_uid = kOtherUid, .name = thief.name}).error().code == ErrorCode::Conflict);
  make_foreign_tap("tap0");
  REQUIRE(socket.change(change_link(index_of(*net, "tap0"), {.alias = label_text({.uid = kNetworkUid})}), "labelling"));
  auto as_bridge = bridge_step();
  as_bridge.name = "tap0";
  CHECK(net->apply(as_bridge).error().code == ErrorCode::Conflict);
}

TEST_CASE("a bridge that a crash left without its label is finished, one with another MAC is not") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto socket = open_socket();
  const auto step = bridge_step();
  REQUIRE(socket.change(create_bridge({.name = step.name, .mac = parse_mac(mac_of(kNetworkUid, 0)).value()}), "half"));
  const auto owner = [&](const std::string& uid) {
    const auto views = net->links({{uid, step.name}}).value();
    return std::ranges::find(views, step.name, &LinkView::name)->owner;
  };
  CHECK(owner(kNetworkUid) == kNetworkUid);
  CHECK(owner(kOtherUid).empty());
  CHECK(net->apply(step) == Applied::Changed);
  CHECK(link_of(*net, step.name).alias == label_of(kNetworkUid));

  auto other = step;
  other.name = "bgbother";
  REQUIRE(socket.change(create_bridge({.name = other.name, .mac = parse_mac(mac_of(kOtherUid, 0)).value()}), "half"));
  CHECK(net->apply(other).error().code == ErrorCode::Conflict);
  CHECK(net->apply(RemoveLink{.owner_uid = kNetworkUid, .name = other.name}).error().code == ErrorCode::Conflict);
  CHECK(net->apply(RemoveLink{.owner_uid = kOtherUid, .name = other.name}) == Applied::Changed);  // that owner's half-made one
}

TEST_CASE("a tap is made labelled, on its bridge and up, and left alone when it is right") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto step = tap_step();
  const auto early = net->apply(step);
  REQUIRE_FALSE(early);
  CHECK(early.error().code == ErrorCode::NotFound);
  CHECK(early.error().message == "bridge " + step.bridge + " does not exist");
  CHECK_FALSE(net->link(step.name).value());

  REQUIRE(net->apply(bridge_step()));
  CHECK(net->apply(step) == Applied::Changed);
  CHECK(net->apply(step) == Applied::Unchanged);
  const auto link = link_of(*net, step.name);
  CHECK(link == LinkView{.name = step.name,
                         .index = link.index,
                         .kind = "tun",
                         .alias = label_of(kVmUid),
                         .owner = kVmUid,
                         .master = step.bridge,
                         .up = true,
                         .mtu = 1500,
                         .addresses = {}});
}

TEST_CASE("whatever is changed on a tap behind our back is repaired, its deletion too") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto step = tap_step();
  REQUIRE(net->apply(bridge_step()));
  REQUIRE(net->apply(step));
  auto socket = open_socket();
  const auto before = link_of(*net, step.name);
  for (const auto& damage : {LinkChange{.mtu = 1300}, LinkChange{.master_index = 0}}) {
    REQUIRE(socket.change(change_link(static_cast<int>(before.index), damage), "damaging"));
    CHECK(link_of(*net, step.name) != before);
    CHECK(net->apply(step) == Applied::Changed);
    CHECK(link_of(*net, step.name) == before);
  }
  delete_tap_behind_our_back(step.name);
  CHECK_FALSE(net->link(step.name).value());
  CHECK(net->apply(step) == Applied::Changed);
  CHECK(link_of(*net, step.name).master == step.bridge);
}

TEST_CASE("a tap without label or with another one is never taken over, changed or removed") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto step = tap_step();
  REQUIRE(net->apply(bridge_step()));
  make_foreign_tap(step.name);
  const auto before = link_of(*net, step.name);
  const auto message = "NameConflict: link " + step.name + " exists and is not ours (alias \"\")";
  check_conflict(net->apply(step), message);
  check_conflict(net->apply(RemoveLink{.owner_uid = kVmUid, .name = step.name}), message);
  CHECK(link_of(*net, step.name) == before);

  auto socket = open_socket();
  REQUIRE(socket.change(change_link(static_cast<int>(before.index), {.alias = label_text({.uid = kOtherUid})}), "labelling"));
  CHECK(net->apply(step).error().code == ErrorCode::Conflict);
  CHECK(link_of(*net, step.name).master.empty());
}

TEST_CASE("what another daemon labelled is left as it is, what was labelled before labels told the daemon is ours and kept") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto step = tap_step();
  const auto bridge = bridge_step();
  REQUIRE(net->apply(bridge));
  REQUIRE(net->apply(step));
  auto socket = open_socket();
  const auto label = [&](const std::string& name, const Label& text) {
    REQUIRE(socket.change(change_link(index_of(*net, name), {.alias = label_text(text)}), "labelling"));
  };
  label(step.name, {kVmUid, kOtherInstance, kOf});
  CHECK(link_of(*net, step.name).owner.empty());
  CHECK(net->apply(step).error().code == ErrorCode::Conflict);
  CHECK(net->apply(RemoveLink{.owner_uid = kVmUid, .name = step.name}).error().code == ErrorCode::Conflict);
  label(step.name, {kVmUid, kInstance, api::ObjectKey{api::Kind::VirtualMachine, "default", "renamed"}});
  CHECK(net->apply(step) == Applied::Unchanged);
  label(step.name, {.uid = kVmUid});
  CHECK(net->apply(step) == Applied::Unchanged);
  CHECK(link_of(*net, step.name).alias == label_text({.uid = kVmUid}));
  CHECK(link_of(*net, step.name).owner == kVmUid);

  label(bridge.name, {kNetworkUid, kOtherInstance, {}});
  CHECK(net->apply(bridge).error().code == ErrorCode::Conflict);
  CHECK(net->apply(step).error().code == ErrorCode::Conflict);  // nor is a tap put on another daemon's bridge
  label(bridge.name, {.uid = kNetworkUid});
  CHECK(net->apply(bridge) == Applied::Unchanged);
  CHECK(net->apply(RemoveLink{.owner_uid = kVmUid, .name = step.name}) == Applied::Changed);
}

TEST_CASE("the longest label fits a link") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  auto step = bridge_step();
  step.of = api::ObjectKey{api::Kind::Network, "", std::string(181, 'n')};
  REQUIRE(net->apply(step));
  CHECK(link_of(*net, step.name).alias.size() == kMaxLabel);
  CHECK(link_of(*net, step.name).owner == kNetworkUid);
}

TEST_CASE("a tap that is not kept vanishes with its descriptor: no crash leaves an unlabelled one") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  {
    const auto device = TapDevice::create("bgrhalf-0");
    REQUIRE(device);
    CHECK(net->link("bgrhalf-0").value());
    CHECK(TapDevice::create("bgrhalf-0").error().code == ErrorCode::Busy);  // never attaches to what exists
  }
  CHECK_FALSE(net->link("bgrhalf-0").value());
}

TEST_CASE("removal is idempotent, and Busy while a process has the tap or the bridge carries taps") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  const auto tap = tap_step();
  const RemoveLink remove_tap{.owner_uid = kVmUid, .name = tap.name};
  const RemoveLink remove_bridge{.owner_uid = kNetworkUid, .name = tap.bridge};
  CHECK(net->apply(remove_tap) == Applied::Unchanged);
  REQUIRE(net->apply(bridge_step()));
  REQUIRE(net->apply(tap));
  {
    const auto vmm = open_tap(tap.name);
    const auto busy = net->apply(remove_tap);
    REQUIRE_FALSE(busy);
    CHECK(busy.error().code == ErrorCode::Busy);
    CHECK(net->link(tap.name).value());
    CHECK(net->apply(tap) == Applied::Unchanged);  // looking at it does not disturb who has it open
  }
  const auto carries = net->apply(remove_bridge);
  REQUIRE_FALSE(carries);
  CHECK(carries.error().code == ErrorCode::Busy);
  CHECK(carries.error().message == "bridge " + tap.bridge + " still carries 1 tap(s) of virtual machines");
  CHECK(net->apply(remove_tap) == Applied::Changed);
  CHECK(net->apply(remove_tap) == Applied::Unchanged);
  CHECK(net->apply(remove_bridge) == Applied::Changed);
  CHECK(net->apply(remove_bridge) == Applied::Unchanged);
  CHECK_FALSE(net->link(tap.name).value());
  CHECK_FALSE(net->link(tap.bridge).value());
}

TEST_CASE("names and numbers that are none are refused before anything is sent") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  for (const std::string name :
       {"", "a;b", "a$b", "q\"q", "a b", "a/b", ".", "..", "-x", "sixteen-letters-", "caf\xc3\xa9", "a\nb"}) {
    CAPTURE(name);
    CHECK_FALSE(is_link_name(name));
    auto bridge = bridge_step();
    bridge.name = name;
    CHECK(net->apply(bridge).error().code == ErrorCode::Invalid);
    auto tap = tap_step();
    tap.name = name;
    CHECK(net->apply(tap).error().code == ErrorCode::Invalid);
    tap = tap_step();
    tap.bridge = name;
    CHECK(net->apply(tap).error().code == ErrorCode::Invalid);
    CHECK(net->apply(RemoveLink{.owner_uid = kVmUid, .name = name}).error().code == ErrorCode::Invalid);
    CHECK(net->link(name).error().code == ErrorCode::Invalid);
    auto nat = nat_step();
    nat.bridge = name;
    CHECK(net->apply(nat).error().code == ErrorCode::Invalid);
  }
  auto bridge = bridge_step();
  bridge.address = "10.9.0.1";
  CHECK(net->apply(bridge).error().code == ErrorCode::Invalid);
  bridge = bridge_step();
  bridge.mtu = 0;
  CHECK(net->apply(bridge).error().code == ErrorCode::Invalid);
  bridge = bridge_step();
  bridge.network_uid = "x";
  CHECK(net->apply(bridge).error().code == ErrorCode::Invalid);
  CHECK(net->links().value().size() == 1);  // lo
}

TEST_CASE("a dump of 200 taps shows what single looks show, and workers may make them at once") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  REQUIRE(net->apply(bridge_step()));
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 50;
  std::vector<std::vector<std::string>> names(kThreads);
  {
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        SeededRandom random(t + 1);
        for (std::size_t i = 0; i < kEach; ++i) {
          const auto uid = new_uid(random);
          const MakeTap step{.vm_uid = uid, .name = tap_name(uid, i % 8), .bridge = bridge_step().name, .mtu = 1500};
          if (net->apply(step) == Applied::Changed) names[t].push_back(step.name);
        }
      });
    }
  }
  const auto links = net->links().value();
  CHECK(links.size() == 2 + kThreads * kEach);
  CHECK(std::ranges::is_sorted(links, {}, &LinkView::index));
  std::map<std::string, LinkView> by_name;
  for (const auto& link : links) by_name[link.name] = link;
  CHECK(by_name.at(bridge_step().name).addresses == std::vector<std::string>{"10.9.0.1/24"});
  for (const auto& made : names) {
    CHECK(made.size() == kEach);
    for (const auto& name : made) {
      REQUIRE(by_name.contains(name));
      CHECK(by_name.at(name).master == bridge_step().name);
    }
    CHECK(by_name.at(made.front()) == link_of(*net, made.front()));
  }
}

TEST_CASE("routes of the main table are read with their links") {
  if (skip_without_fresh_namespace()) return;
  const auto net = open_net();
  CHECK(net->routes().value().empty());
  REQUIRE(net->apply(bridge_step()));
  CHECK(net->routes().value() ==
        std::vector<RouteView>{{.destination = parse_cidr("10.9.0.0/24").value(), .link = bridge_step().name}});
}
