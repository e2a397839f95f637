// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/resolv_conf.hpp"

#include <doctest/doctest.h>

using namespace banger::actuators::net;
using Servers = std::vector<std::string>;

TEST_CASE("name servers that a guest can reach are kept in order") {
  CHECK(nameservers_of("nameserver 10.0.0.2\nnameserver 9.9.9.9\n") == Servers{"10.0.0.2", "9.9.9.9"});
  CHECK(nameservers_of("# nameserver 1.2.3.4\n;nameserver 1.2.3.5\n search x\n\tnameserver\t10.0.0.2  # office\r\n") ==
        Servers{"10.0.0.2"});
  CHECK(nameservers_of("nameserver 10.0.0.2\nnameserver 10.0.0.2") == Servers{"10.0.0.2"});
}

TEST_CASE("loopback, IPv6 and nonsense are left out") {
  CHECK(nameservers_of("nameserver 127.0.0.53\nnameserver 127.1.2.3\nnameserver ::1\nnameserver 2001:db8::1\n"
                       "nameserver 0.0.0.0\nnameserver 10.0.0\nnameserver\nnameservers 10.0.0.3\n")
            .empty());
  CHECK(nameservers_of("").empty());
}
