// SPDX-License-Identifier: Apache-2.0
#include "base/inet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace banger {
namespace {

// A decimal number of at most max without sign or leading zeros, taken off the front of text.
std::optional<std::uint32_t> take_number(std::string_view& text, std::uint32_t max) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<std::size_t>(end - text.data());
  if (error != std::errc{} || length == 0 || value > max || (length > 1 && text.front() == '0')) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Ipv4> take_ipv4(std::string_view& text) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    if (i > 0 && !take(text, '.')) return std::nullopt;
    const auto octet = take_number(text, 255);
    if (!octet) return std::nullopt;
    value = (value << 8U) | *octet;
  }
  return Ipv4{value};
}

}  // namespace

std::optional<Ipv4> parse_ipv4(std::string_view text) {
  const auto address = take_ipv4(text);
  return text.empty() ? address : std::nullopt;
}

std::optional<Cidr> parse_cidr(std::string_view text) {
  const auto address = take_ipv4(text);
  if (!address || !take(text, '/')) return std::nullopt;
  const auto prefix = take_number(text, 32);
  if (!prefix || !text.empty()) return std::nullopt;
  return Cidr{*address, static_cast<std::uint8_t>(*prefix)};
}

std::optional<Mac> parse_mac(std::string_view text) {
  Mac mac;
  for (std::size_t i = 0; i < mac.octets.size(); ++i) {
    if (i > 0 && !take(text, ':')) return std::nullopt;
    if (text.size() < 2) return std::nullopt;
    const auto [end, error] = std::from_chars(text.data(), text.data() + 2, mac.octets[i], 16);
    if (error != std::errc{} || end != text.data() + 2) return std::nullopt;
    text.remove_prefix(2);
  }
  if (!text.empty()) return std::nullopt;
  return mac;
}

std::string to_string(Ipv4 a) {
  return fmt::format("{}.{}.{}.{}", a.value >> 24U, (a.value >> 16U) & 255U, (a.value >> 8U) & 255U, a.value & 255U);
}

std::string to_string(Cidr cidr) { return fmt::format("{}/{}", to_string(cidr.address), cidr.prefix); }

std::string to_string(const Mac& mac) {
  const auto& o = mac.octets;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4], o[5]);
}

std::uint32_t netmask(std::uint8_t prefix) { return prefix == 0 ? 0U : ~std::uint32_t{0} << (32U - prefix); }

Cidr network_of(Cidr cidr) { return {{cidr.address.value & netmask(cidr.prefix)}, cidr.prefix}; }

bool contains(Cidr network, Ipv4 address) { return ((network.address.value ^ address.value) & netmask(network.prefix)) == 0; }

bool overlaps(Cidr a, Cidr b) {
  const auto shorter = std::min(a.prefix, b.prefix);
  return ((a.address.value ^ b.address.value) & netmask(shorter)) == 0;
}

}  // namespace banger
