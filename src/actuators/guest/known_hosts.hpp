// SPDX-License-Identifier: Apache-2.0
// The known_hosts file of one VM: we write it, ssh(1) can read it, and only lines of our own form are believed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace banger::actuators::guest {

// "10.1.2.3", or "[10.1.2.3]:2222" when the port is not 22.
std::string known_hosts_name(std::string_view address, std::int64_t port);

// One line for each name with the same key. openssh_public is "ssh-ed25519 AAAA… comment\n".
std::string write_known_hosts(const std::vector<std::string>& names, std::string_view openssh_public);

// The key blob pinned for exactly this name. Denied when there is none.
Result<std::string> pinned_key(std::string_view known_hosts, std::string_view name);

// "SHA256:…" as ssh-keygen -l shows it.
std::string fingerprint(std::string_view key_blob);

}  // namespace banger::actuators::guest
