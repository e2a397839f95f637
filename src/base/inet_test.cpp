// SPDX-License-Identifier: Apache-2.0
#include "base/inet.hpp"

#include <doctest/doctest.h>

using namespace banger;

TEST_CASE("addresses are read exactly or not at all") {
  CHECK(parse_ipv4("10.1.2.3") == Ipv4{0x0a010203});
  CHECK_FALSE(parse_ipv4("10.1.2"));
  CHECK_FALSE(parse_ipv4("10.1.2.256"));
  CHECK_FALSE(parse_ipv4("10.1.2.03"));
  CHECK_FALSE(parse_ipv4("10.1.2.3 "));
  CHECK_FALSE(parse_ipv4("10.1.2.3/8"));
  CHECK(to_string(Ipv4{0x0a010203}) == "10.1.2.3");
}

TEST_CASE("networks know what they contain and overlap") {
  const auto net = parse_cidr("10.1.2.0/24").value();
  CHECK(contains(net, parse_ipv4("10.1.2.77").value()));
  CHECK_FALSE(contains(net, parse_ipv4("10.1.3.77").value()));
  CHECK(overlaps(net, parse_cidr("10.0.0.0/8").value()));
  CHECK(overlaps(parse_cidr("0.0.0.0/0").value(), net));
  CHECK_FALSE(overlaps(net, parse_cidr("10.1.3.0/24").value()));
  CHECK(network_of(parse_cidr("10.1.2.77/24").value()) == net);
  CHECK_FALSE(parse_cidr("10.1.2.0/33"));
  CHECK_FALSE(parse_cidr("10.1.2.0"));
}

TEST_CASE("MAC addresses round-trip in lower case") {
  CHECK(to_string(parse_mac("02:AB:00:11:22:ff").value()) == "02:ab:00:11:22:ff");
  CHECK_FALSE(parse_mac("02:ab:00:11:22"));
  CHECK_FALSE(parse_mac("02:ab:00:11:22:f"));
  CHECK_FALSE(parse_mac("02:ab:00:11:22:ff:00"));
}
