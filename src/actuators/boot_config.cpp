// SPDX-License-Identifier: Apache-2.0
#include "actuators/boot_config.hpp"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <array>
#include <initializer_list>
#include <string_view>

#include "base/guest_config_format.hpp"

namespace banger::actuators {
namespace {

std::string encoded(std::string_view field) {
  if (field.empty()) return "-";
  if (field == "-") return "%2D";
  std::string out;
  for (const char c : field) {
    if (c > ' ' && c < 0x7F && c != '%') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

void add(std::string& text, std::string_view keyword, std::initializer_list<std::string_view> fields) {
  text += keyword;
  for (const auto field : fields) text += " " + encoded(field);
  text += "\n";
}

}  // namespace

std::string boot_config_text(const GuestConfig& config) {
  std::string text = std::string(guest_config::kFirstLine) + "\n";
  add(text, guest_config::kHostname, {config.hostname});
  for (const auto& server : config.nameservers) add(text, guest_config::kNameserver, {server});
  for (const auto& nic : config.nics) add(text, guest_config::kNic, {nic.mac, nic.address, nic.gateway});
  for (const auto& mount : config.mounts) add(text, guest_config::kMount, {mount.disk, mount.path});
  if (!config.ssh_user.empty()) {
    add(text, guest_config::kUser, {config.ssh_user});
    for (const auto& key : config.authorized_keys) add(text, guest_config::kKey, {key});
  }
  for (std::size_t i = 0; i < config.files.size(); ++i) {
    add(text, guest_config::kFile, {std::to_string(i), fmt::format("{:04o}", config.files[i].mode), config.files[i].path});
  }
  return text;
}

std::string boot_config_hash(const GuestConfig& config, const std::string& base_initrd) {
  auto text = fmt::format("{}\n{}", encoded(base_initrd), boot_config_text(config));
  for (const auto& file : config.files) text += fmt::format("{}:", file.content.size()) + file.content;
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string out;
  for (const auto byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

}  // namespace banger::actuators
