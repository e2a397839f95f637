// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/nft_socket.hpp"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/text.hpp"

namespace banger::actuators::net {
namespace {

constexpr std::size_t kBufferBytes = 64U << 10U;
constexpr timeval kPatience{.tv_sec = 10, .tv_usec = 0};

Error nft_error(std::string_view doing, int sys_errno) {
  if (sys_errno == ERESTART || sys_errno == EINTR) {
    return {ErrorCode::Busy, fmt::format("{}: the ruleset was changed by someone else meanwhile", doing), sys_errno};
  }
  auto error = errno_error(doing, sys_errno);
  if (sys_errno == EOPNOTSUPP || sys_errno == EPROTONOSUPPORT || sys_errno == ENOENT) {
    error.code = ErrorCode::Unavailable;
    error.message += ": does this kernel have nf_tables with nft_chain_nat and nft_masq?";
  }
  return error;
}

Error name_conflict(const NatTable& table) {
  return {
      ErrorCode::Conflict,
      fmt::format("NameConflict: nft table ip {} exists and is not ours (comment \"{}\")", table.name, printable(table.comment)),
      0};
}

const NatTable* find(const std::vector<NatTable>& tables, std::string_view name) {
  const auto at = std::ranges::find(tables, name, &NatTable::name);
  return at == tables.end() ? nullptr : &*at;
}

}  // namespace

void NftSocket::Close::operator()(mnl_socket* socket) const { mnl_socket_close(socket); }

NftSocket::NftSocket(std::unique_ptr<mnl_socket, Close> socket) : socket_(std::move(socket)), buffer_(kBufferBytes) {}

Result<std::unique_ptr<NftSocket>> NftSocket::open() {
  std::unique_ptr<mnl_socket, Close> socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    return fail(nft_error("opening a netfilter socket", errno));
  }
  ::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  return std::unique_ptr<NftSocket>(new NftSocket(std::move(socket)));
}

Result<void> NftSocket::ask(std::vector<char> question, const Visit& visit) {
  constexpr std::string_view kDoing = "reading nftables";
  auto* asked = reinterpret_cast<nlmsghdr*>(question.data());
  asked->nlmsg_seq = ++sequence_;
  const bool is_dump = (asked->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  if (mnl_socket_sendto(socket_.get(), asked, asked->nlmsg_len) < 0) return fail(nft_error(kDoing, errno));
  bool interrupted = false;
  for (;;) {
    const ssize_t got = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(nft_error(kDoing, errno == EAGAIN ? ETIMEDOUT : errno));
    int left = static_cast<int>(got);
    for (auto* at = reinterpret_cast<nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(at, left); at = mnl_nlmsg_next(at, &left)) {
      if (at->nlmsg_seq != asked->nlmsg_seq) continue;
      interrupted = interrupted || (at->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (at->nlmsg_type == NLMSG_DONE) {
        if (interrupted) return fail(nft_error(kDoing, EINTR));
        return {};
      }
      if (at->nlmsg_type == NLMSG_ERROR) {
        const int error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(at))->error;
        if (error != 0) return fail(nft_error(kDoing, -error));
        return {};
      }
      visit(*at);
      if (!is_dump) return {};
    }
  }
}

Result<std::uint32_t> NftSocket::generation() {
  std::optional<std::uint32_t> number;
  BGR_CHECK(ask(ask_generation(), [&](const nlmsghdr& header) { number = decode_generation(header); }));
  if (!number) return fail(internal("the kernel did not tell its ruleset's generation"));
  return *number;
}

Result<NftSocket::Snapshot> NftSocket::look() {
  Snapshot seen;
  BGR_TRY(seen.generation, generation());
  const auto visit = [&](const nlmsghdr& header) { collect(header, seen.tables); };
  BGR_CHECK(ask(ask_tables(), visit));
  if (seen.tables.empty()) return seen;
  BGR_CHECK(ask(ask_chains(), visit));
  BGR_CHECK(ask(ask_rules(), visit));
  BGR_TRY(const auto after, generation());
  if (after != seen.generation) return fail(nft_error("reading nftables", ERESTART));
  return seen;
}

Result<void> NftSocket::commit(Batch batch, std::string_view doing) {
  const auto first = sequence_ + 1;
  int left = static_cast<int>(batch.bytes.size());
  for (auto* at = reinterpret_cast<nlmsghdr*>(batch.bytes.data()); mnl_nlmsg_ok(at, left); at = mnl_nlmsg_next(at, &left)) {
    at->nlmsg_seq = ++sequence_;
  }
  if (mnl_socket_sendto(socket_.get(), batch.bytes.data(), batch.bytes.size()) < 0) return fail(nft_error(doing, errno));
  // A transaction is worked off inside send: every answer is there already. A failed one says so at the message at fault.
  std::uint32_t acknowledged = 0;
  int first_error = 0;
  while (acknowledged < batch.acknowledgements && first_error == 0) {
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): it does not wait
    const ssize_t got = ::recv(mnl_socket_get_fd(socket_.get()), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(nft_error(doing, errno == EAGAIN ? ETIMEDOUT : errno));
    left = static_cast<int>(got);
    for (auto* at = reinterpret_cast<nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(at, left); at = mnl_nlmsg_next(at, &left)) {
      if (at->nlmsg_seq < first || at->nlmsg_seq > sequence_ || at->nlmsg_type != NLMSG_ERROR) continue;
      const int error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(at))->error;
      if (error == 0) ++acknowledged;
      if (error != 0 && first_error == 0) first_error = -error;
    }
  }
  if (first_error != 0) return fail(nft_error(doing, first_error));
  return {};
}

Result<std::vector<NatTable>> NftSocket::tables() {
  const std::scoped_lock lock(mutex_);
  BGR_TRY(auto seen, look());
  return std::move(seen.tables);
}

Result<Applied> NftSocket::write(const WantedNat& wanted, const IsOurs& is_ours) {
  const std::scoped_lock lock(mutex_);
  BGR_TRY(const auto seen, look());
  const auto* there = find(seen.tables, wanted.table);
  if (there != nullptr && !is_ours(there->comment)) return fail(name_conflict(*there));
  if (there != nullptr) {
    const auto view = view_of(*there);
    if (view.bridge == wanted.bridge && view.cidr == to_string(network_of(wanted.cidr))) return Applied::Unchanged;
  }
  const auto doing = fmt::format("writing nft table ip {}", wanted.table);
  BGR_CHECK(commit(replace_batch(wanted, there != nullptr, seen.generation), doing));
  return Applied::Changed;
}

Result<Applied> NftSocket::remove(const std::string& table, const IsOurs& is_ours) {
  const std::scoped_lock lock(mutex_);
  BGR_TRY(const auto seen, look());
  const auto* there = find(seen.tables, table);
  if (there == nullptr) return Applied::Unchanged;
  if (!is_ours(there->comment)) return fail(name_conflict(*there));
  BGR_CHECK(commit(delete_batch(table, seen.generation), fmt::format("removing nft table ip {}", table)));
  return Applied::Changed;
}

}  // namespace banger::actuators::net
