// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/wire.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <utility>

#include "base/text.hpp"

namespace banger::actuators::guest {
namespace {

constexpr std::size_t kBannerLimit = 255;  // RFC 4253 4.2, line end included
constexpr std::size_t kPreambleLimit = 4096;

Error unavailable(std::string message, int sys_errno) { return {ErrorCode::Unavailable, std::move(message), sys_errno}; }

// Milliseconds for poll(2), rounded up so that it does not spin just before the deadline.
int milliseconds_until(Deadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
}

}  // namespace

std::string to_string(Endpoint endpoint) { return fmt::format("{}:{}", banger::to_string(endpoint.address), endpoint.port); }

struct Wire::Wake {
  explicit Wake(const std::stop_token& stop)
      : event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), on_stop(stop, [this] {
          const std::uint64_t one = 1;
          (void)!::write(event.get(), &one, sizeof one);  // fails only when there is no event, and then wait() looks itself
        }) {}
  UniqueFd event;
  std::stop_callback<std::function<void()>> on_stop;
};

Wire::Wire(std::stop_token stop) : stop_(std::move(stop)), wake_(std::make_shared<Wake>(stop_)) {}

Result<Wire> Wire::connect(Endpoint endpoint, Deadline deadline, std::stop_token stop) {
  Wire wire(std::move(stop));
  const auto doing = fmt::format("connecting to {}", to_string(endpoint));
  wire.socket_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!wire.socket_.valid() || !wire.wake_->event.valid()) return fail(errno_error(doing, errno));
  const int on = 1;
  ::setsockopt(wire.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(endpoint.port);
  peer.sin_addr.s_addr = htonl(endpoint.address.value);
  if (::connect(wire.fd(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0) return wire;
  if (errno != EINPROGRESS) return fail(unavailable(errno_error(doing, errno).message, errno));
  if (auto ready = wire.wait(POLLOUT, deadline); !ready) return fail(with_context(ready.error(), doing));
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(wire.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return fail(unavailable(errno_error(doing, error).message, error));
  return wire;
}

Result<void> Wire::wait(short events, Deadline deadline) const {
  for (;;) {
    if (stopped()) return fail(unavailable("cancelled", ECANCELED));
    std::array<pollfd, 2> waiting{{{.fd = fd(), .events = events, .revents = 0},  //
                                   {.fd = wake_->event.get(), .events = POLLIN, .revents = 0}}};
    const int left = milliseconds_until(deadline);
    const int ready = ::poll(waiting.data(), waiting.size(), left);
    if (ready < 0 && errno != EINTR) return fail(errno_error("waiting for the network", errno));
    if (ready > 0 && waiting[0].revents != 0) return {};
    if (ready == 0 && left == 0) return fail(unavailable("timed out", ETIMEDOUT));
  }
}

std::optional<std::string> banner_in(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    auto line = bytes.substr(0, end);
    const bool whole = end != std::string_view::npos || line.size() >= kBannerLimit;
    if (line.starts_with("SSH-")) {
      if (!whole) return std::nullopt;
      line = line.substr(0, kBannerLimit);
      while (line.ends_with('\r')) line.remove_suffix(1);
      return printable(line);
    }
    if (end == std::string_view::npos) return std::nullopt;
    bytes.remove_prefix(end + 1);
  }
  return std::nullopt;
}

Result<std::string> read_banner(const Wire& wire, Deadline deadline) {
  std::string bytes;
  while (bytes.size() < kPreambleLimit) {
    BGR_CHECK(wire.wait(POLLIN, deadline));
    std::array<char, 256> chunk{};
    const ssize_t got = ::recv(wire.fd(), chunk.data(), std::min(chunk.size(), kPreambleLimit - bytes.size()), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return fail(unavailable(errno_error("reading", errno).message, errno));
    if (got == 0) return fail(unavailable("the connection was closed before an SSH banner came", 0));
    bytes.append(chunk.data(), static_cast<std::size_t>(got));
    if (auto banner = banner_in(bytes)) return *std::move(banner);
  }
  return fail(unavailable(fmt::format("the first {} bytes hold no SSH banner", kPreambleLimit), 0));
}

}  // namespace banger::actuators::guest
