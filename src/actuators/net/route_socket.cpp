// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/route_socket.hpp"

#include <fmt/format.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/text.hpp"

namespace banger::actuators::net {
namespace {

constexpr std::size_t kReplyBytes = 64U << 10U;                // the kernel fills dumps up to 32 KiB a datagram
constexpr timeval kReplyPatience{.tv_sec = 10, .tv_usec = 0};  // rtnetlink answers inside send; only a stuck RTNL lock takes long
constexpr int kDumpAttempts = 5;

}  // namespace

std::string kernel_sentence(const nlmsghdr& header) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0 || !nlmsg_valid_hdr(&header, sizeof(nlmsgerr))) return {};
  const auto* error = static_cast<const nlmsgerr*>(nlmsg_data(&header));
  int skip = sizeof(nlmsgerr);
  if ((header.nlmsg_flags & NLM_F_CAPPED) == 0) skip += nlmsg_datalen(&error->msg);
  if (nlmsg_datalen(&header) < skip) return {};
  std::array<nlattr*, NLMSGERR_ATTR_MAX + 1> table{};
  nla_parse(table.data(), NLMSGERR_ATTR_MAX, nlmsg_attrdata(&header, skip), nlmsg_attrlen(&header, skip), nullptr);
  const auto* text = table[NLMSGERR_ATTR_MSG];
  if (text == nullptr) return {};
  const std::string_view bytes(static_cast<const char*>(nla_data(text)), static_cast<std::size_t>(nla_len(text)));
  return printable(bytes.substr(0, bytes.find('\0')));
}

void RouteSocket::Close::operator()(nl_sock* socket) const { nl_socket_free(socket); }

RouteSocket::RouteSocket(std::unique_ptr<nl_sock, Close> socket) : socket_(std::move(socket)), buffer_(kReplyBytes) {}

Result<RouteSocket> RouteSocket::open() {
  std::unique_ptr<nl_sock, Close> socket(nl_socket_alloc());
  if (!socket) return fail(errno_error("opening a route socket", ENOMEM));
  if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0) {
    return fail({ErrorCode::Unavailable, fmt::format("opening a route socket: {}", nl_geterror(error)), 0});
  }
  const int fd = nl_socket_get_fd(socket.get());
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kReplyPatience, sizeof kReplyPatience);
  // Both since Linux 4.12 and 4.20; without them errors are terser and dumps longer, nothing else.
  ::setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  return RouteSocket(std::move(socket));
}

Result<void> RouteSocket::send(const Message& message, std::string_view doing) {
  nl_complete_msg(socket_.get(), message.get());
  const auto* header = nlmsg_hdr(message.get());
  const ssize_t sent = ::send(nl_socket_get_fd(socket_.get()), header, header->nlmsg_len, 0);
  if (sent < 0) return fail(errno_error(doing, errno));
  return {};
}

Result<RouteSocket::Dump> RouteSocket::receive(const Message& message, std::string_view doing, const Visit& visit) {
  const auto* asked = nlmsg_hdr(message.get());
  const bool is_dump = (asked->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  auto dump = Dump::Whole;
  for (;;) {
    const ssize_t got = ::recv(nl_socket_get_fd(socket_.get()), buffer_.data(), buffer_.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(doing, errno == EAGAIN ? ETIMEDOUT : errno));
    int left = static_cast<int>(got);
    for (auto* at = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(at, left); at = nlmsg_next(at, &left)) {
      if (at->nlmsg_seq != asked->nlmsg_seq) continue;  // the rest of a request that was given up
      if ((at->nlmsg_flags & NLM_F_DUMP_INTR) != 0) dump = Dump::Interrupted;
      if (at->nlmsg_type == NLMSG_DONE) return dump;
      if (at->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(nlmsg_data(at));
        if (error->error == 0) return dump;
        auto out = errno_error(doing, -error->error);
        if (const auto text = kernel_sentence(*at); !text.empty()) out.message += fmt::format(": {}", text);
        return fail(std::move(out));
      }
      visit(*at);
      if (!is_dump && (asked->nlmsg_flags & NLM_F_ACK) == 0) return dump;
    }
  }
}

Result<void> RouteSocket::change(const Message& message, std::string_view doing) {
  nlmsg_hdr(message.get())->nlmsg_flags |= NLM_F_ACK;
  BGR_CHECK(send(message, doing));
  BGR_CHECK(receive(message, doing, [](const nlmsghdr&) {}));
  return {};
}

Result<void> RouteSocket::ask(const Message& message, std::string_view doing, const Visit& visit,
                              const std::function<void()>& again) {
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    if (attempt > 0) again();
    nlmsg_hdr(message.get())->nlmsg_seq = 0;  // a new number for each attempt
    nlmsg_hdr(message.get())->nlmsg_flags &= static_cast<std::uint16_t>(~NLM_F_ACK);
    BGR_CHECK(send(message, doing));
    BGR_TRY(const auto dump, receive(message, doing, visit));
    if (dump == Dump::Whole) return {};
  }
  return fail({ErrorCode::Busy, fmt::format("{}: the links keep changing while they are read", doing), EINTR});
}

Result<std::unique_ptr<RouteSockets>> RouteSockets::open(std::size_t count) {
  auto pool = std::make_unique<RouteSockets>();
  for (std::size_t i = 0; i < count; ++i) {
    BGR_TRY(auto socket, RouteSocket::open());
    pool->free_.push_back(std::make_unique<RouteSocket>(std::move(socket)));
  }
  return pool;
}

RouteSockets::Lease::Lease(RouteSockets& pool) : pool_(pool) {
  std::unique_lock lock(pool_.mutex_);
  pool_.returned_.wait(lock, [&] { return !pool_.free_.empty(); });
  socket_ = std::move(pool_.free_.back());
  pool_.free_.pop_back();
}

RouteSockets::Lease::~Lease() {
  {
    const std::scoped_lock lock(pool_.mutex_);
    pool_.free_.push_back(std::move(socket_));
  }
  pool_.returned_.notify_one();
}

}  // namespace banger::actuators::net
