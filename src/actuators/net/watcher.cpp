// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/watcher.hpp"

#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <set>
#include <utility>

#include "actuators/names.hpp"

namespace banger::actuators::net {
namespace {

// 1 000 taps put on bridges make 6.6 MB of events, read as they come.
constexpr int kReceiveBytes = 4 << 20;
constexpr std::size_t kEventBytes = 64U << 10U;

// Another daemon's too: it wakes nobody here.
std::string labelled_uid(std::string_view text) { return parse_label(text).value_or(Label{}).uid; }

bool has_our_prefix(std::string_view name) { return name.starts_with("bgr") || name.starts_with("bgb"); }

Result<UniqueFd> subscribe(int protocol, std::initializer_list<int> groups) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd.valid()) return fail(errno_error("opening a netlink event socket", errno));
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBytes, sizeof kReceiveBytes) != 0) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(errno_error("binding a netlink event socket", errno));
  }
  for (const int group : groups) {
    if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return fail(errno_error("subscribing to netlink events", errno));
    }
  }
  return fd;
}

// Reads until the socket is empty; visit sees every message, overflow is told once for each loss.
template <class Visit, class Overflow>
void drain(const UniqueFd& fd, std::vector<char>& buffer, Visit visit, Overflow overflow) {
  for (;;) {
    const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ENOBUFS) {
      overflow();
      continue;
    }
    if (got <= 0) return;
    int left = static_cast<int>(got);
    for (auto* at = reinterpret_cast<nlmsghdr*>(buffer.data()); nlmsg_ok(at, left); at = nlmsg_next(at, &left)) visit(*at);
  }
}

}  // namespace

void HintFilter::learn(const std::vector<LinkRecord>& links, const std::vector<NatTable>& tables) {
  for (const auto& link : links) links_[static_cast<int>(link.view.index)] = seen(link);
  for (const auto& table : tables) {
    if (auto uid = labelled_uid(table.comment); !uid.empty()) tables_[table.name] = std::move(uid);
  }
}

HintFilter::Seen HintFilter::seen(const LinkRecord& link) {
  return {.uid = labelled_uid(link.view.alias), .view = link.view, .master_index = link.master_index};
}

std::optional<std::string> HintFilter::on_link(const LinkRecord& link, bool deleted) {
  const int index = static_cast<int>(link.view.index);
  const auto known = links_.find(index);
  auto before = known == links_.end() ? std::string() : known->second.uid;
  if (link.family == AF_BRIDGE) {  // about a port of a bridge; such messages carry no alias, and many a state of no concern
    const bool left = deleted && !before.empty() && !(leaving_ && leaving_(index));
    return left ? std::optional(before) : std::nullopt;
  }
  auto next = seen(link);
  auto now = next.uid;
  if (deleted) {
    if (known != links_.end()) links_.erase(known);
    return now.empty() ? before : now;
  }
  const bool is_new = known == links_.end();
  if (!is_new && known->second == next) return std::nullopt;
  links_[index] = std::move(next);
  if (leaving_ && leaving_(index)) return std::nullopt;
  if (!now.empty()) return now;
  if (!before.empty()) return before;  // it has lost its label
  // A foreign link has come: it may route what a network wants. Ours bear no label for the first instant of their lives.
  if (is_new && !has_our_prefix(link.view.name)) return "";
  return std::nullopt;
}

std::optional<std::string> HintFilter::on_route_message(const nlmsghdr& header) {
  if (const auto link = decode_link(header)) return on_link(*link, header.nlmsg_type == RTM_DELLINK);
  if (const auto address = decode_address(header)) {
    const auto owner = links_.find(address->index);
    return owner == links_.end() ? std::string() : owner->second.uid;
  }
  return std::nullopt;
}

std::optional<std::string> HintFilter::on_nft_message(const nlmsghdr& header) {
  const auto event = decode_nat_event(header);
  if (!event.table.starts_with("banger-")) return std::nullopt;
  if (auto uid = labelled_uid(event.comment); !uid.empty()) return tables_[event.table] = std::move(uid);
  const auto owner = tables_.find(event.table);
  return owner == tables_.end() ? std::string() : owner->second;
}

Result<std::unique_ptr<Watcher>> Watcher::start(Hint hint, const Learn& learn, HintFilter::Leaving leaving) {
  std::unique_ptr<Watcher> watcher(new Watcher(std::move(leaving)));
  watcher->hint_ = std::move(hint);
  BGR_TRY(watcher->route_, subscribe(NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR}));
  BGR_TRY(watcher->nft_, subscribe(NETLINK_NETFILTER, {NFNLGRP_NFTABLES}));
  watcher->stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watcher->stop_.valid()) return fail(errno_error("making an eventfd", errno));
  BGR_CHECK(learn(watcher->filter_));
  watcher->thread_ = std::thread([self = watcher.get()] { self->run(); });
  return watcher;
}

Watcher::~Watcher() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);  // cannot fail: the counter is 0
  thread_.join();
}

void Watcher::run() {
  std::vector<char> buffer(kEventBytes);
  std::array<pollfd, 3> waiting{{{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                                 {.fd = route_.get(), .events = POLLIN, .revents = 0},
                                 {.fd = nft_.get(), .events = POLLIN, .revents = 0}}};
  for (;;) {
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0) return;
    std::set<std::string> hints;  // a burst of events about one owner is one hint
    const auto note = [&](std::optional<std::string> uid) {
      if (uid) hints.insert(*std::move(uid));
    };
    const auto lost = [&] { hints.insert(""); };
    drain(route_, buffer, [&](const nlmsghdr& header) { note(filter_.on_route_message(header)); }, lost);
    drain(nft_, buffer, [&](const nlmsghdr& header) { note(filter_.on_nft_message(header)); }, lost);
    for (const auto& uid : hints) hint_(uid);
  }
}

}  // namespace banger::actuators::net
