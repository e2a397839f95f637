// SPDX-License-Identifier: Apache-2.0
// IPv4 addresses, prefixes and MAC addresses as values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banger {

struct Ipv4 {
  std::uint32_t value = 0;  // host byte order: 10.0.0.1 is 0x0a000001
  auto operator<=>(const Ipv4&) const = default;
};

// An address with its prefix length: both "10.1.2.0/24" (a network) and "10.1.2.1/24" (an address in one).
struct Cidr {
  Ipv4 address;
  std::uint8_t prefix = 32;  // 0..32
  auto operator<=>(const Cidr&) const = default;
};

struct Mac {
  std::array<std::uint8_t, 6> octets{};
  auto operator<=>(const Mac&) const = default;
};

std::optional<Ipv4> parse_ipv4(std::string_view text);  // dotted quad without leading zeros, nothing else
std::optional<Cidr> parse_cidr(std::string_view text);  // dotted quad, '/', 0..32
std::optional<Mac> parse_mac(std::string_view text);    // six two-digit hexadecimal octets with ':'

std::string to_string(Ipv4 address);
std::string to_string(Cidr cidr);
std::string to_string(const Mac& mac);  // lower case

std::uint32_t netmask(std::uint8_t prefix);
Cidr network_of(Cidr cidr);  // host bits cleared
bool contains(Cidr network, Ipv4 address);
bool overlaps(Cidr a, Cidr b);

}  // namespace banger
