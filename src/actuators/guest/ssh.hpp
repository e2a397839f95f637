// SPDX-License-Identifier: Apache-2.0
// What the daemon does with a guest over SSH, and the files that make it trust the right one.
#pragma once

#include <stop_token>
#include <string>

#include "actuators/guest/keys.hpp"
#include "actuators/jobs.hpp"
#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "base/random.hpp"
#include "base/result.hpp"

namespace banger::actuators::guest {

// `sync` in the guest; returns the nonce that came back after it. Anything but that exact line means: not synced. Dial limit 2 s,
// banner 5 s, whole 20 s; ends early when stop is requested. Errors:
//   Invalid      nonce not [0-9a-f]{8,64}, address not IPv4, port not 1..65535, no user
//   Unavailable  "GuestUnreachable: …" (no connection, no banner, no handshake), "SyncNotConfirmed: …" (no nonce), cancelled
//   Denied       authentication, host key not the pinned one, or no ed25519 host key
Result<std::string> run(const SyncGuest& job, const Layout& layout, std::stop_token stop);

// The server's banner (printable, at most 255 bytes) if it comes within 1 s. Nothing is sent. Unavailable: "GuestUnreachable: …".
Result<std::string> run(const ProbeSsh& job, const Layout& layout, std::stop_token stop);

// <state>/vms/<uid> (0700) with host_key and known_hosts in it, durable. known_hosts is written again only if it differs; a host
// key that is there is kept, and one that cannot be read is an error, never replaced.
Result<Applied> apply(const MakeVmDirectory& step, const Layout& layout, Random& random);

// The daemon's key for all guests, made at first use.
Result<KeyPair> ensure_client_key(const Layout& layout, Random& random);

}  // namespace banger::actuators::guest
