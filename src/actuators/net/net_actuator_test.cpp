// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/net_actuator.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include "actuators/names.hpp"

using namespace banger;
using namespace banger::actuators;

TEST_CASE("a network and a tap are made, left alone when they are right, and removed") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: making a private network namespace needs root");
    return;
  }
  REQUIRE(::unshare(CLONE_NEWNET) == 0);
  auto net = net::NetActuator::open();
  REQUIRE(net);
  const std::string n = "0b5e6f6a-1111-4222-8333-444455556666";
  const std::string v = "1b5e6f6a-1111-4222-8333-444455556666";
  const MakeBridge bridge{.network_uid = n, .name = bridge_name(n), .address = "10.9.0.1/24", .mtu = 1500};
  auto r = (*net)->apply(bridge);
  CHECK_MESSAGE(r, r.error().message);
  CHECK((*net)->apply(bridge) == Applied::Unchanged);
  const MakeTap tap{.vm_uid = v, .name = tap_name(v, 0), .bridge = bridge.name, .mtu = 1500};
  r = (*net)->apply(tap);
  CHECK_MESSAGE(r, r.error().message);
  CHECK((*net)->apply(tap) == Applied::Unchanged);
  const WriteNat nat{.network_uid = n, .table = nat_table_name(n), .bridge = bridge.name, .cidr = "10.9.0.0/24"};
  r = (*net)->apply(nat);
  CHECK_MESSAGE(r, r.error().message);
  CHECK((*net)->apply(nat) == Applied::Unchanged);
  r = (*net)->apply(RemoveLink{.owner_uid = n, .name = bridge.name});
  CHECK_MESSAGE(!r, r.error().message);
  r = (*net)->apply(RemoveLink{.owner_uid = v, .name = tap.name});
  CHECK_MESSAGE(r, r.error().message);
  r = (*net)->apply(RemoveLink{.owner_uid = n, .name = bridge.name});
  CHECK_MESSAGE(r, r.error().message);
  r = (*net)->apply(RemoveNat{n, nat.table});
  CHECK_MESSAGE(r, r.error().message);
}
