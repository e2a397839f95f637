// SPDX-License-Identifier: Apache-2.0
// Beast parses and prints the messages; the socket is poll(2)ed here, so that deadlines and stop signals hold everywhere.
#include "client/http.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <cstring>
#include <limits>

#include "base/text.hpp"

namespace banger::client {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using Parser = http::response_parser<http::string_body>;

constexpr std::uint64_t kBodyLimit = 256U << 20U;

Error lost(std::string message, int sys_errno) { return {ErrorCode::Unavailable, std::move(message), sys_errno}; }

Error not_running(const std::string& path, int sys_errno) {
  return lost(fmt::format("bangerd is not running (no answer on {}); start it with: bangerd --manifests DIR", printable(path)),
              sys_errno);
}

Error not_permitted(const std::string& path, int sys_errno) {
  struct stat info{};
  std::string owner = "root";
  if (::stat(path.c_str(), &info) == 0) owner = fmt::format("user {} and group {}", info.st_uid, info.st_gid);
  return {ErrorCode::Denied,
          fmt::format("you (user {}) may not use {}, which belongs to {}; run bangerctl with sudo", ::geteuid(), printable(path),
                      owner),
          sys_errno};
}

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(lost(fmt::format("the socket path \"{}\" must have 1 to {} bytes; give another with --socket", printable(path),
                                 sizeof(address.sun_path) - 1),
                     ENAMETOOLONG));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail(errno_error("making a socket", errno));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const int error = errno;
  if (error == EACCES || error == EPERM) return fail(not_permitted(path, error));
  if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR) return fail(not_running(path, error));
  auto other = errno_error(fmt::format("connecting to {}", printable(path)), error);
  other.code = ErrorCode::Unavailable;
  return fail(other);
}

enum class Ready { Yes, Stopped, TimedOut };

class Connection {
 public:
  Connection(UniqueFd fd, const std::string& path, const Patience& patience)
      : fd_(std::move(fd)), path_(path), patience_(patience) {}

  // A peer that answers before it has read everything closes its side: what it said is still worth reading.
  Result<Ending> write(std::string_view bytes) {
    while (!bytes.empty()) {
      BGR_TRY(const auto ready, wait(POLLOUT));
      if (ready != Ready::Yes) return ready == Ready::Stopped ? Ending::Stopped : Ending::TimedOut;
      const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EPIPE || errno == ECONNRESET) {
        return Ending::Complete;
      } else if (errno != EAGAIN && errno != EINTR) {
        return fail(broken(errno));
      }
    }
    return Ending::Complete;
  }

  // Fills bytes with something new; empty: the end of the stream.
  Result<Ready> read(std::string& bytes) {
    bytes.clear();
    for (;;) {
      BGR_TRY(const auto ready, wait(POLLIN));
      if (ready != Ready::Yes) return ready;
      const auto got = ::recv(fd_.get(), block_.data(), block_.size(), MSG_DONTWAIT);
      if (got >= 0) {
        bytes.assign(block_.data(), static_cast<std::size_t>(got));
        return Ready::Yes;
      }
      if (errno != EAGAIN && errno != EINTR) return fail(broken(errno));
    }
  }

  [[nodiscard]] Error broken(int sys_errno) const {
    return lost(fmt::format("bangerd broke off its answer on {}; look at its log, then try again", printable(path_)), sys_errno);
  }

 private:
  Result<Ready> wait(short events) {
    using std::chrono::milliseconds;
    std::array<pollfd, 2> watched{{{fd_.get(), events, 0}, {patience_.stop != nullptr ? patience_.stop->fd() : -1, POLLIN, 0}}};
    for (;;) {
      int timeout = -1;
      if (patience_.deadline) {
        const auto left = std::chrono::ceil<milliseconds>(*patience_.deadline - std::chrono::steady_clock::now()).count();
        if (left <= 0) return Ready::TimedOut;
        timeout = static_cast<int>(std::min<std::int64_t>(left, std::numeric_limits<int>::max()));
      }
      const int count = ::poll(watched.data(), watched.size(), timeout);
      if (count < 0 && errno != EINTR) return fail(broken(errno));
      if (count <= 0) continue;
      return watched[1].revents != 0 ? Ready::Stopped : Ready::Yes;
    }
  }

  UniqueFd fd_;
  const std::string& path_;
  const Patience& patience_;
  std::array<char, 65536> block_{};
};

std::string printed(const Request& request) {
  // The target came from our own code, percent-encoded; a line break in it would be a second request.
  std::string text =
      fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bangerctl\r\nAccept: {}\r\nConnection: close\r\n",
                  request.method, request.target, request.accept);
  if (!request.body.empty()) {
    text += fmt::format("Content-Type: {}\r\nContent-Length: {}\r\n", request.content_type, request.body.size());
  }
  return text + "\r\n" + request.body;
}

// Collects an answer; chunks of a 2xx go to the sink as they come.
class Answer {
 public:
  explicit Answer(const BodySink& sink) {
    parser_.eager(true);
    parser_.body_limit(kBodyLimit);
    if (!sink) return;
    parser_.body_limit(boost::none);
    on_chunk_ = [this, &sink](std::uint64_t, beast::string_view body, beast::error_code& error) -> std::size_t {
      if (parser_.get().result_int() >= 300) {
        refused_.append(body.data(), body.size());
      } else if (!going_ || !sink(std::string_view(body.data(), body.size()))) {
        going_ = false;
        error = http::error::end_of_stream;
      }
      return body.size();
    };
    parser_.on_chunk_body(on_chunk_);
  }

  // False: this is not HTTP.
  bool feed(std::string_view bytes) {
    pending_.append(bytes);
    while (!pending_.empty() && !parser_.is_done()) {
      beast::error_code error;
      const auto used = parser_.put(boost::asio::const_buffer(pending_.data(), pending_.size()), error);
      pending_.erase(0, used);
      if (error == http::error::need_more) return true;
      if (error) return !going_;
      if (used == 0) return true;
    }
    return true;
  }
  void end() {
    if (!parser_.got_some()) {  // put_eof() asserts on a peer that said nothing at all
      cut_ = true;
      return;
    }
    beast::error_code error;
    parser_.put_eof(error);
    cut_ = static_cast<bool>(error);
  }

  [[nodiscard]] bool done() const { return parser_.is_done(); }
  [[nodiscard]] bool going() const { return going_; }
  [[nodiscard]] bool cut() const { return cut_; }
  Response take() {
    auto& message = parser_.get();
    Response response{.status = message.result_int(), .content_type = std::string(message[http::field::content_type])};
    const auto [first, last] = message.equal_range(http::field::warning);
    for (auto it = first; it != last; ++it) response.warnings.emplace_back(it->value());
    response.body = refused_.empty() ? std::move(message.body()) : std::move(refused_);
    return response;
  }

 private:
  Parser parser_;
  std::function<std::size_t(std::uint64_t, beast::string_view, beast::error_code&)> on_chunk_;
  std::string pending_;
  std::string refused_;
  bool going_ = true;
  bool cut_ = false;
};

}  // namespace

StopSignal::StopSignal() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void StopSignal::set() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof(one));
}

Result<Exchange> exchange(const std::string& socket_path, const Request& request, const BodySink& sink,
                          const Patience& patience) {
  BGR_TRY(auto fd, connect_to(socket_path));
  Connection connection(std::move(fd), socket_path, patience);
  BGR_TRY(const auto written, connection.write(printed(request)));
  if (written != Ending::Complete) return Exchange{.ending = written, .response = {}};
  Answer answer(sink);
  std::string bytes;
  while (!answer.done()) {
    BGR_TRY(const auto ready, connection.read(bytes));
    if (ready != Ready::Yes) {
      return Exchange{.ending = ready == Ready::Stopped ? Ending::Stopped : Ending::TimedOut, .response = {}};
    }
    if (bytes.empty()) {
      answer.end();
      if (answer.cut() || !answer.done()) return fail(connection.broken(ECONNRESET));
      break;
    }
    if (!answer.feed(bytes)) {
      return fail(lost(fmt::format("what answers on {} does not speak HTTP; is it bangerd?", printable(socket_path)), EPROTO));
    }
    if (!answer.going()) return Exchange{.ending = Ending::Stopped, .response = {}};
  }
  return Exchange{.ending = Ending::Complete, .response = answer.take()};
}

}  // namespace banger::client
