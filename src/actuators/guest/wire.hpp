// SPDX-License-Identifier: Apache-2.0
// A TCP connection on which nothing waits past its deadline or a request to stop.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/inet.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::guest {

using Deadline = std::chrono::steady_clock::time_point;

struct Endpoint {
  Ipv4 address;
  std::uint16_t port = 22;
};
std::string to_string(Endpoint endpoint);  // "10.1.2.3:22"

class Wire {
 public:
  // Errors: Unavailable when refused, unreachable, too late or stopped.
  static Result<Wire> connect(Endpoint endpoint, Deadline deadline, std::stop_token stop);

  // Waits for POLLIN and/or POLLOUT. Unavailable: "timed out" (errno ETIMEDOUT) or "cancelled" (errno ECANCELED).
  Result<void> wait(short events, Deadline deadline) const;

  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] bool stopped() const { return stop_.stop_requested(); }

 private:
  struct Wake;  // turns a stop request into a readable descriptor
  explicit Wire(std::stop_token stop);
  std::stop_token stop_;
  UniqueFd socket_;
  std::shared_ptr<Wake> wake_;
};

// The identification line (RFC 4253 4.2) without its line end, printable; lines before it are skipped. At most 255 bytes of it
// and 4 KiB in all are read, whatever the peer sends. Unavailable when it does not come.
Result<std::string> read_banner(const Wire& wire, Deadline deadline);

// The first complete identification line in bytes, if there is one. Pure.
std::optional<std::string> banner_in(std::string_view bytes);

}  // namespace banger::actuators::guest
