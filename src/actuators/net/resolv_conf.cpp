// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/resolv_conf.hpp"

#include <algorithm>

#include "base/inet.hpp"
#include "base/text.hpp"

namespace banger::actuators::net {
namespace {

constexpr std::string_view kBlanks = " \t\r";

// Takes the first word off the front of line.
std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const auto word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

std::vector<std::string> nameservers_of(std::string_view resolv_conf) {
  std::vector<std::string> servers;
  for (auto line : split(resolv_conf, '\n')) {
    if (take_word(line) != "nameserver") continue;
    const auto address = parse_ipv4(take_word(line));
    if (!address || address->value >> 24U == 127 || address->value == 0) continue;
    auto text = to_string(*address);
    if (std::ranges::find(servers, text) == servers.end()) servers.push_back(std::move(text));
  }
  return servers;
}

}  // namespace banger::actuators::net
