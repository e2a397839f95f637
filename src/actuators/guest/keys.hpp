// SPDX-License-Identifier: Apache-2.0
// Ed25519 key pairs for SSH: the daemon's client key and each guest's host key. RSA is left out on purpose: libssh2 1.10 with
// OpenSSL cannot use rsa-sha2 signatures.
#pragma once

#include <filesystem>
#include <string>

#include "base/random.hpp"
#include "base/result.hpp"

namespace banger::actuators::guest {

struct KeyPair {
  std::string openssh_private;   // "-----BEGIN OPENSSH PRIVATE KEY-----…", not encrypted
  std::string openssh_public;    // "ssh-ed25519 AAAA… comment\n"
  std::string dropbear_private;  // what dropbear keeps in dropbear_ed25519_host_key
};

Result<KeyPair> generate_key(Random& random, std::string_view comment);

// Reads the private key at path (openssh-key-v1, ed25519, no passphrase); the other forms are derived. Errors name the path.
Result<KeyPair> load_key(const std::filesystem::path& path);

// The key at path, made with mode 0600 (its directory 0700) if it is not there yet; path + ".pub" beside it.
Result<KeyPair> ensure_key(const std::filesystem::path& path, Random& random, std::string_view comment);

}  // namespace banger::actuators::guest
