// SPDX-License-Identifier: Apache-2.0
// The three written forms of an ed25519 key, as pure functions on bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace banger::actuators::guest {

struct Ed25519Key {
  std::array<std::uint8_t, 32> seed{};
  std::array<std::uint8_t, 32> public_key{};
  std::string comment;
  bool operator==(const Ed25519Key&) const = default;
};

// The key with its public half computed. Internal when libcrypto fails.
Result<Ed25519Key> key_from_seed(const std::array<std::uint8_t, 32>& seed, std::string_view comment);

// RFC 8709 public key blob: string "ssh-ed25519", string of 32 bytes. What goes over the wire and into known_hosts as base64.
std::string public_blob(const Ed25519Key& key);

// check is the pair of equal integers that openssh-key-v1 stores to detect a wrong passphrase; any value will do.
std::string write_openssh_private(const Ed25519Key& key, std::uint32_t check);
std::string write_openssh_public(const Ed25519Key& key);
std::string write_dropbear_private(const Ed25519Key& key);

// Reads an openssh-key-v1 file: one ed25519 key, no passphrase. Invalid says what was found instead.
Result<Ed25519Key> read_openssh_private(std::string_view text);

std::string base64(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);  // whole quantums only; nothing else between them

}  // namespace banger::actuators::guest
