// SPDX-License-Identifier: Apache-2.0
// One SSH connection to a guest whose host key is pinned: connect, run commands, gone. The guest is not trusted: whatever it
// sends, a session ends by its deadline, holds a bounded number of bytes and can be stopped at any moment.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "actuators/guest/keys.hpp"
#include "actuators/guest/wire.hpp"
#include "base/result.hpp"

namespace banger::actuators::guest {

struct SshPeer {
  Endpoint endpoint;
  std::string user;
  std::string pinned_key;  // blob of its ed25519 host key
  std::string repin_hint;  // what to do when another key is shown; ends the error's sentence
};

struct SshLimits {
  std::chrono::milliseconds dial{2'000};
  std::chrono::milliseconds banner{5'000};  // after the connection stands; emulated guests are slow to fork
  std::chrono::milliseconds whole{20'000};
};

enum class ExecEnd {
  Enough,  // the reader said so
  Eof,     // the guest closed the channel or its output
  Cut,     // the connection broke or the limits were reached; why says which
};

struct ExecOutput {
  std::string text;  // standard output, at most 64 KiB
  ExecEnd end = ExecEnd::Eof;
  std::string why;
  // There is no exit status here on purpose: libssh2 1.10 answers 0 for one that never arrived.
};

class SshSession {
 public:
  // Connects, checks the host key, authenticates. Errors: Unavailable ("GuestUnreachable: …" up to the handshake), Denied (host
  // key, no ed25519 host key, authentication).
  static Result<SshSession> connect(const SshPeer& peer, const KeyPair& client, SshLimits limits, std::stop_token stop);
  SshSession(SshSession&&) noexcept;
  SshSession& operator=(SshSession&&) noexcept;
  ~SshSession();

  // Runs the command and reads its output until enough(output) holds, the channel ends or a limit is hit. Errors: Unavailable
  // when the command could not be started.
  Result<ExecOutput> exec(const std::string& command, const std::function<bool(std::string_view)>& enough);

 private:
  struct Impl;
  explicit SshSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace banger::actuators::guest
