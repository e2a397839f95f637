// SPDX-License-Identifier: Apache-2.0
// The socket file, and who is at the other end of a connection.
#pragma once

#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "server/server.hpp"

namespace banger::server {

// A listening socket at options.socket_path with its mode and group. A stale socket file is replaced.
Result<UniqueFd> listen_on(const ServerOptions& options);

// nullopt: the peer may speak to us; else the sentence that says why not.
std::optional<std::string> refusal_of_peer(int connection, const ServerOptions& options);

}  // namespace banger::server
