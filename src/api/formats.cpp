// SPDX-License-Identifier: Apache-2.0
#include "api/formats.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/inet.hpp"
#include "base/text.hpp"

namespace banger::api::schema {
namespace {

constexpr std::size_t kMaxPath = 4095;  // PATH_MAX without the terminating zero

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z'); }
bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20U || c == 0x7f; }

bool is_dns_label(std::string_view text) {
  if (text.empty() || text.size() > 63 || text.front() == '-' || text.back() == '-') return false;
  return std::ranges::all_of(text, [](char c) { return is_lower(c) || is_digit(c) || c == '-'; });
}

bool is_dns_subdomain(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  return std::ranges::all_of(split(text, '.'), is_dns_label);
}

// The name part of a label key, and a label's value.
bool is_label_word(std::string_view text) {
  if (text.empty() || text.size() > 63 || !is_alnum(text.front()) || !is_alnum(text.back())) return false;
  return std::ranges::all_of(text, [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_path(std::string_view text) {
  if (text.size() > kMaxPath || !text.starts_with('/') || std::ranges::any_of(text, is_control)) return false;
  if (text == "/") return true;
  return std::ranges::none_of(split(text.substr(1), '/'),
                              [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

bool is_network_cidr(std::string_view text) {
  const auto cidr = parse_cidr(text);
  return cidr && cidr->prefix >= 8 && cidr->prefix <= 29 && network_of(*cidr) == *cidr;
}

bool is_sha256(std::string_view text) {
  if (!text.starts_with("sha256:") || text.size() != 7 + 64) return false;
  return std::ranges::all_of(text.substr(7), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

bool is_base64(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() < 16) return false;
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  return std::ranges::all_of(text, [](char c) { return is_alnum(c) || c == '+' || c == '/'; });
}

// "<type> <base64>[ comment]". Options before the type are refused: they are commands to the guest's sshd.
bool is_public_key(std::string_view text) {
  if (std::ranges::any_of(text, is_control)) return false;
  const auto parts = split(text, ' ');
  if (parts.size() < 2) return false;
  constexpr std::array<std::string_view, 3> kTypes{"ssh-", "ecdsa-sha2-", "sk-"};
  const bool known = std::ranges::any_of(kTypes, [&](std::string_view prefix) { return parts[0].starts_with(prefix); });
  return known && is_base64(parts[1]);
}

bool is_kernel_argument(std::string_view text) {
  if (text.empty() || text.size() > 512) return false;
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_link_name(std::string_view text) {
  if (text.empty() || text.size() > 15 || text == "." || text == "..") return false;
  return std::ranges::all_of(text, [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_user_name(std::string_view text) {
  if (text.empty() || text.size() > 32 || is_digit(text.front()) || text.front() == '-') return false;
  return std::ranges::all_of(text, [](char c) { return is_lower(c) || is_digit(c) || c == '_' || c == '-'; });
}

bool is_disk_name(std::string_view text) { return is_dns_label(text) && text.size() <= 20 && text != "root"; }
bool is_line(std::string_view text) { return std::ranges::none_of(text, is_control); }

struct Rule {
  Format format;
  std::string_view name;
  bool (*fits)(std::string_view);
  std::string_view expected;
};

constexpr std::array kRules{
    Rule{Format::DnsLabel, "DNS label", is_dns_label,
         "must be at most 63 of the characters a-z, 0-9 and '-', without '-' at either end"},
    Rule{Format::DnsSubdomain, "DNS subdomain", is_dns_subdomain,
         "must be labels of a-z, 0-9 and '-' with dots between them, at most 253 characters"},
    Rule{Format::DiskName, "disk name", is_disk_name,
         "must be at most 20 of the characters a-z, 0-9 and '-', without '-' at either end, and not \"root\""},
    Rule{Format::AbsolutePath, "absolute path", is_path,
         "must be an absolute path without \"..\", \".\", \"//\", a '/' at its end or control characters"},
    Rule{Format::Ipv4, "IPv4 address", [](std::string_view text) { return parse_ipv4(text).has_value(); },
         "must be an IPv4 address such as 10.1.2.3"},
    Rule{Format::NetworkCidr, "IPv4 network", is_network_cidr,
         "must be an IPv4 network such as 10.1.2.0/24, from /8 to /29, with the host's bits zero"},
    Rule{Format::Sha256Digest, "sha256 digest", is_sha256, "must be \"sha256:\" and 64 lower-case hexadecimal digits"},
    Rule{Format::PublicKey, "OpenSSH public key", is_public_key,
         "must be one line of an OpenSSH public key file (\"ssh-ed25519 AAAA… comment\")"},
    Rule{Format::KernelArgument, "kernel argument", is_kernel_argument,
         "must be one argument of printable ASCII without white space, at most 512 characters"},
    Rule{Format::LinkName, "link name", is_link_name, "must be at most 15 of the characters a-z, A-Z, 0-9, '.', '_' and '-'"},
    Rule{Format::UserName, "user name", is_user_name,
         "must be at most 32 of the characters a-z, 0-9, '_' and '-', not starting with a digit or '-'"},
    Rule{Format::Line, "line", is_line, "must be one line without control characters"},
};

}  // namespace

std::optional<std::string> problem_with(Format format, std::string_view text) {
  const auto rule = std::ranges::find(kRules, format, &Rule::format);
  if (rule == kRules.end() || rule->fits(text)) return std::nullopt;
  return fmt::format("{}, is {}", rule->expected, shown(text));
}

std::string_view name_of(Format format) {
  if (format == Format::FileMode) return "octal file mode";
  if (format == Format::DecimalText) return "decimal digits";
  const auto rule = std::ranges::find(kRules, format, &Rule::format);
  return rule == kRules.end() ? std::string_view{} : rule->name;
}

std::optional<std::string> problem_with_label_key(std::string_view key) {
  const auto slash = key.find('/');
  const auto name = slash == std::string_view::npos ? key : key.substr(slash + 1);
  const bool prefix_fits = slash == std::string_view::npos || is_dns_subdomain(key.substr(0, slash));
  if (prefix_fits && is_label_word(name)) return std::nullopt;
  return fmt::format(
      "key must be a name of at most 63 of the characters A-Z, a-z, 0-9, '-', '_' and '.', with an optional DNS prefix "
      "and '/' before it, is {}",
      shown(key));
}

std::optional<std::string> problem_with_label_value(std::string_view value) {
  if (value.empty() || is_label_word(value)) return std::nullopt;
  return fmt::format(
      "must be at most 63 of the characters A-Z, a-z, 0-9, '-', '_' and '.', with a letter or digit at both ends, is {}",
      shown(value));
}

std::string shown(std::string_view text) {
  constexpr std::size_t kLimit = 60;
  if (text.size() <= kLimit) return fmt::format("\"{}\"", printable(text));
  auto cut = text.substr(0, kLimit);
  // Not in the middle of a letter.
  while (!cut.empty() && (static_cast<unsigned char>(text[cut.size()]) & 0xc0U) == 0x80U) cut.remove_suffix(1);
  return fmt::format("\"{}…\"", printable(cut));
}

std::string format_mode(std::int64_t mode) { return fmt::format("0{:03o}", mode); }

std::optional<std::int64_t> parse_mode(std::string_view text) {
  if (!text.starts_with('0')) return std::nullopt;
  text.remove_prefix(1);
  if (text.starts_with('o')) text.remove_prefix(1);
  if (text.empty() || text.size() > 7) return std::nullopt;
  std::int64_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return std::nullopt;
    mode = mode * 8 + (c - '0');
  }
  return mode;
}

}  // namespace banger::api::schema
