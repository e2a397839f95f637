// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/ssh_session.hpp"

#include <fmt/format.h>
#include <libssh2.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <utility>

#include "actuators/guest/known_hosts.hpp"
#include "base/text.hpp"

namespace banger::actuators::guest {
namespace {

constexpr std::size_t kOutputLimit = 64U << 10U;
constexpr std::size_t kReceiveLimit = 1U << 20U;  // bytes taken from one connection, ever
constexpr std::size_t kMessageLimit = 256;

Result<void> start_library() {
  static std::once_flag once;
  static int result = 0;
  std::call_once(once, [] { result = libssh2_init(0); });
  if (result != 0) return fail(internal(fmt::format("libssh2 does not start (error {})", result)));
  return {};
}

struct FreeSession {
  void operator()(LIBSSH2_SESSION* session) const {
    // Its callbacks answer "closed" by now, so that it never has to wait.
    while (libssh2_session_free(session) == LIBSSH2_ERROR_EAGAIN) {
    }
  }
};

Error unreachable(Endpoint endpoint, std::string_view why) {
  return {ErrorCode::Unavailable, fmt::format("GuestUnreachable: {}: {}", to_string(endpoint), why), 0};
}
Error denied(std::string message) { return {ErrorCode::Denied, std::move(message), 0}; }

}  // namespace

struct SshSession::Impl {
  Impl(Wire connected, Deadline until) : wire(std::move(connected)), deadline(until) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (session) (void)libssh2_session_disconnect(session.get(), "done");  // one try; the guest may be gone
    closed = true;
  }

  // libssh2 calls these for every byte in or out, which is where its inner loops are bounded. Errors are negative errno(3).
  ssize_t receive(void* buffer, std::size_t length) {
    if (const int why = refusal(); why != 0) return -why;
    if (received >= kReceiveLimit) return -EMSGSIZE;
    const ssize_t got = ::recv(wire.fd(), buffer, std::min(length, kReceiveLimit - received), 0);
    if (got < 0) return -errno;
    received += static_cast<std::size_t>(got);
    return got;
  }
  ssize_t transmit(const void* buffer, std::size_t length) const {
    if (const int why = refusal(); why != 0) return -why;
    const ssize_t put = ::send(wire.fd(), buffer, length, MSG_NOSIGNAL);
    return put < 0 ? -errno : put;
  }
  [[nodiscard]] int refusal() const {
    if (closed) return ECONNRESET;
    if (wire.stopped()) return ECANCELED;
    return std::chrono::steady_clock::now() >= deadline ? ETIMEDOUT : 0;
  }

  Result<void> open();
  Result<void> handshake(const SshPeer& peer);
  Result<void> check_host_key(const SshPeer& peer);
  Result<void> authenticate(const SshPeer& peer, const KeyPair& client);
  Result<void> wait_for_libssh2();
  [[nodiscard]] std::string last_error() const;

  // Calls again whenever libssh2 would have to wait. Returns its last answer; an error only for time and cancellation.
  template <class Call>
  Result<std::int64_t> drive(Call call) {
    for (;;) {
      const std::int64_t answer = call();
      if (answer != LIBSSH2_ERROR_EAGAIN) return answer;
      BGR_CHECK(wait_for_libssh2());
    }
  }

  Wire wire;
  Deadline deadline;
  std::size_t received = 0;
  bool closed = false;
  std::unique_ptr<LIBSSH2_SESSION, FreeSession> session;
};

Result<void> SshSession::Impl::open() {
  session.reset(libssh2_session_init_ex(nullptr, nullptr, nullptr, this));
  if (!session) return fail(errno_error("starting an SSH session", ENOMEM));
  libssh2_session_set_blocking(session.get(), 0);
  using Receive = ssize_t (*)(libssh2_socket_t, void*, std::size_t, int, void**);
  using Send = ssize_t (*)(libssh2_socket_t, const void*, std::size_t, int, void**);
  const Receive receive_callback = [](libssh2_socket_t, void* buffer, std::size_t length, int, void** abstract) {
    return static_cast<Impl*>(*abstract)->receive(buffer, length);
  };
  const Send send_callback = [](libssh2_socket_t, const void* buffer, std::size_t length, int, void** abstract) {
    return static_cast<const Impl*>(*abstract)->transmit(buffer, length);
  };
  libssh2_session_callback_set(session.get(), LIBSSH2_CALLBACK_RECV, reinterpret_cast<void*>(receive_callback));
  libssh2_session_callback_set(session.get(), LIBSSH2_CALLBACK_SEND, reinterpret_cast<void*>(send_callback));
  // The pinned key is ed25519: a server that would rather show another kind must show this one or none.
  if (libssh2_session_method_pref(session.get(), LIBSSH2_METHOD_HOSTKEY, "ssh-ed25519") != 0) {
    return fail(internal("this libssh2 knows no ssh-ed25519 host keys"));
  }
  return {};
}

Result<void> SshSession::Impl::wait_for_libssh2() {
  const int directions = libssh2_session_block_directions(session.get());
  int events = 0;
  if ((directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0) events |= POLLIN;
  if ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0) events |= POLLOUT;
  return wire.wait(static_cast<short>(events == 0 ? POLLIN : events), deadline);
}

// libssh2's sentence, or ours where it stopped because we told it to.
std::string SshSession::Impl::last_error() const {
  const int why = refusal();
  if (why == ECANCELED) return "cancelled";
  if (why == ETIMEDOUT) return "timed out";
  if (received >= kReceiveLimit) return fmt::format("it sent more than {} bytes", kReceiveLimit);
  char* text = nullptr;
  int length = 0;
  const int code = libssh2_session_last_error(session.get(), &text, &length, 0);
  const std::string_view sentence(text == nullptr ? "" : text, text == nullptr ? 0 : static_cast<std::size_t>(length));
  return fmt::format("{} (libssh2 error {})", printable(sentence.substr(0, kMessageLimit)), code);
}

Result<void> SshSession::Impl::handshake(const SshPeer& peer) {
  const auto answer = drive([&] { return libssh2_session_handshake(session.get(), wire.fd()); });
  if (!answer) return fail(unreachable(peer.endpoint, fmt::format("SSH handshake: {}", answer.error().message)));
  if (*answer == 0) return {};
  if (*answer == LIBSSH2_ERROR_KEX_FAILURE || *answer == LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE ||
      *answer == LIBSSH2_ERROR_METHOD_NONE) {
    return fail(denied(fmt::format(
        "the SSH server at {} offers no ed25519 host key (RSA-only servers cannot be used); give it an ed25519 host key "
        "(ssh-keygen -t ed25519): {}",
        to_string(peer.endpoint), last_error())));
  }
  return fail(unreachable(peer.endpoint, fmt::format("SSH handshake: {}", last_error())));
}

Result<void> SshSession::Impl::check_host_key(const SshPeer& peer) {
  std::size_t length = 0;
  int type = 0;
  const char* bytes = libssh2_session_hostkey(session.get(), &length, &type);
  const std::string_view shown(bytes == nullptr ? "" : bytes, bytes == nullptr ? 0 : length);
  if (shown == peer.pinned_key && !shown.empty()) return {};
  return fail(
      denied(fmt::format("the SSH server at {} shows host key {}, not the pinned {}: someone may be answering in the guest's "
                         "place (man in the middle), "
                         "or the guest's host key was replaced; {}",
                         to_string(peer.endpoint), fingerprint(shown), fingerprint(peer.pinned_key), peer.repin_hint)));
}

Result<void> SshSession::Impl::authenticate(const SshPeer& peer, const KeyPair& client) {
  const auto answer = drive([&] {
    return libssh2_userauth_publickey_frommemory(session.get(), peer.user.data(), peer.user.size(), client.openssh_public.data(),
                                                 client.openssh_public.size(), client.openssh_private.data(),
                                                 client.openssh_private.size(), nullptr);
  });
  const auto where = fmt::format("logging in as {} at {}", printable(peer.user), to_string(peer.endpoint));
  if (!answer) return fail(with_context(answer.error(), where));
  if (*answer == 0) return {};
  if (*answer == LIBSSH2_ERROR_AUTHENTICATION_FAILED || *answer == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED) {
    return fail(
        denied(fmt::format("{}: the guest does not accept our key; it must stand in that user's authorized_keys", where)));
  }
  return fail({ErrorCode::Unavailable, fmt::format("{}: {}", where, last_error()), 0});
}

SshSession::SshSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SshSession::SshSession(SshSession&&) noexcept = default;
SshSession& SshSession::operator=(SshSession&&) noexcept = default;
SshSession::~SshSession() = default;

Result<SshSession> SshSession::connect(const SshPeer& peer, const KeyPair& client, SshLimits limits, std::stop_token stop) {
  BGR_CHECK(start_library());
  const auto start = std::chrono::steady_clock::now();
  auto wire = Wire::connect(peer.endpoint, start + std::min(limits.dial, limits.whole), std::move(stop));
  if (!wire) return fail(unreachable(peer.endpoint, wire.error().message));
  const auto banner_deadline = std::min(start + limits.whole, std::chrono::steady_clock::now() + limits.banner);
  if (auto spoken = wire->wait(POLLIN, banner_deadline); !spoken) {
    return fail(unreachable(peer.endpoint, fmt::format("waiting for the SSH banner: {}", spoken.error().message)));
  }
  auto impl = std::make_unique<Impl>(*std::move(wire), start + limits.whole);
  BGR_CHECK(impl->open());
  BGR_CHECK(impl->handshake(peer));
  BGR_CHECK(impl->check_host_key(peer));
  BGR_CHECK(impl->authenticate(peer, client));
  return SshSession(std::move(impl));
}

namespace {

// Takes what the channel has now. Positive: something came; 0: nothing more will come; else libssh2's error.
std::int64_t read_channel(LIBSSH2_CHANNEL* channel, std::string& text) {
  std::array<char, 4096> chunk{};
  // What the command complains about is thrown away, or its window would fill up.
  const auto complaints = libssh2_channel_read_ex(channel, SSH_EXTENDED_DATA_STDERR, chunk.data(), chunk.size());
  const auto got = libssh2_channel_read_ex(channel, 0, chunk.data(), chunk.size());
  if (got > 0) text.append(chunk.data(), static_cast<std::size_t>(got));
  if (got > 0 || complaints <= 0) return got;
  return complaints;
}

}  // namespace

Result<ExecOutput> SshSession::exec(const std::string& command, const std::function<bool(std::string_view)>& enough) {
  auto* session = impl_->session.get();
  LIBSSH2_CHANNEL* channel = nullptr;
  const auto give_up = [&](std::string_view why) {
    return fail({ErrorCode::Unavailable, fmt::format("running a command in the guest: {}", why), 0});
  };
  const auto opened = impl_->drive([&]() -> std::int64_t {
    channel = libssh2_channel_open_session(session);
    return channel != nullptr ? 0 : libssh2_session_last_errno(session);
  });
  if (!opened) return give_up(opened.error().message);
  if (channel == nullptr) return give_up(impl_->last_error());
  // The session owns the channel and frees it at its own end: freeing it here could wait for the guest.
  const auto started = impl_->drive([&] { return libssh2_channel_exec(channel, command.c_str()); });
  if (!started) return give_up(started.error().message);
  if (*started != 0) return give_up(impl_->last_error());

  ExecOutput output;
  for (;;) {
    const auto got = impl_->drive([&] { return read_channel(channel, output.text); });
    if (enough(output.text)) {
      output.end = ExecEnd::Enough;
      return output;
    }
    if (got && *got > 0 && output.text.size() < kOutputLimit) continue;
    if (got && *got == 0) return output;
    output.end = ExecEnd::Cut;
    output.why = !got ? got.error().message : *got < 0 ? impl_->last_error() : fmt::format("more than {} bytes", kOutputLimit);
    return output;
  }
}

}  // namespace banger::actuators::guest
