// SPDX-License-Identifier: Apache-2.0
// Which name servers of the host a guest can use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace banger::actuators::net {

// The IPv4 addresses of nameserver lines (resolv.conf(5)) in order, without loopback, 0.0.0.0 and repetitions; the networks of
// guests are IPv4 only.
std::vector<std::string> nameservers_of(std::string_view resolv_conf);

}  // namespace banger::actuators::net
