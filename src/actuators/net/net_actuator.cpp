// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/net_actuator.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "actuators/names.hpp"
#include "actuators/net/link_names.hpp"
#include "actuators/net/link_reader.hpp"
#include "actuators/net/link_steps.hpp"
#include "actuators/net/nat_rules.hpp"
#include "actuators/net/nft_socket.hpp"
#include "actuators/net/resolv_conf.hpp"
#include "actuators/net/route_socket.hpp"
#include "actuators/net/tap_reaper.hpp"
#include "actuators/net/watcher.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {
namespace {

// As many as passes run at a time: making a tap waits for the kernel, and reads do not queue behind.
constexpr std::size_t kRouteSockets = 16;
constexpr const char* kForwarding = "/proc/sys/net/ipv4/ip_forward";

using Lease = RouteSockets::Lease;

Result<void> check_table(std::string_view uid, std::string_view table) {
  if (!is_uid(uid)) return fail(invalid(fmt::format("owner \"{}\" is not a uid", printable(uid))));
  if (table != nat_table_name(uid)) {
    return fail(invalid(fmt::format("table \"{}\": expected {}", printable(table), nat_table_name(uid))));
  }
  return {};
}

Result<bool> read_forwarding() {
  BGR_TRY(const auto text, read_file(kForwarding, kib(1)));
  return !text.starts_with('0');
}

Result<Applied> enable_forwarding() {
  BGR_TRY(const bool on, read_forwarding());
  if (on) return Applied::Unchanged;
  const auto doing = fmt::format("writing 1 to {}", kForwarding);
  const UniqueFd fd(::open(kForwarding, O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return fail(errno_error(doing, errno));
  if (auto written = write_all(fd.get(), "1\n"); !written) return fail(with_context(written.error(), doing));
  return Applied::Changed;
}

}  // namespace

struct NetActuator::State {
  std::string instance;
  std::unique_ptr<RouteSockets> routes;
  std::optional<LinkNames> names;
  std::unique_ptr<NftSocket> nft;
  std::unique_ptr<TapReaper> reaper;
  std::unique_ptr<Watcher> watcher;  // last, so that it stops first
};

NetActuator::NetActuator(std::unique_ptr<State> state) : state_(std::move(state)) {}
NetActuator::~NetActuator() = default;

Result<std::unique_ptr<NetActuator>> NetActuator::open(std::string instance) {
  auto state = std::make_unique<State>();
  state->instance = std::move(instance);
  BGR_TRY(state->routes, RouteSockets::open(kRouteSockets));
  BGR_TRY(state->names, LinkNames::open());
  BGR_TRY(state->nft, NftSocket::open());
  BGR_TRY(state->reaper, TapReaper::start(state->instance));
  return std::unique_ptr<NetActuator>(new NetActuator(std::move(state)));
}

Result<Applied> NetActuator::apply(const MakeBridge& step) {
  Lease socket(*state_->routes);
  return make_bridge(*socket, step, state_->instance);
}

Result<Applied> NetActuator::apply(const MakeTap& step) {
  Lease socket(*state_->routes);
  return make_tap(*socket, step, state_->instance, *state_->reaper);
}

Result<Applied> NetActuator::apply(const RemoveLink& step) {
  Lease socket(*state_->routes);
  return remove_link(*socket, step, state_->instance, *state_->reaper);
}

Result<Applied> NetActuator::apply(const WriteNat& step) {
  BGR_CHECK(check_table(step.network_uid, step.table));
  if (!is_link_name(step.bridge)) return fail(invalid(fmt::format("bridge \"{}\" is not a link name", printable(step.bridge))));
  const auto cidr = parse_cidr(step.cidr);
  if (!cidr || cidr->prefix == 0)
    return fail(invalid(fmt::format("cidr \"{}\": expected like 10.1.2.0/24", printable(step.cidr))));
  BGR_TRY(const auto written,
          state_->nft->write({.table = step.table,
                              .comment = label_text({.uid = step.network_uid, .instance = state_->instance, .of = step.of}),
                              .bridge = step.bridge,
                              .cidr = network_of(*cidr)},
                             owned_by(step.network_uid)));
  BGR_TRY(const auto enabled, enable_forwarding());
  return enabled == Applied::Changed ? enabled : written;
}

std::function<bool(const std::string&)> NetActuator::owned_by(const std::string& uid) const {
  return [uid, &instance = state_->instance](const std::string& comment) { return owner_by_label(comment, instance) == uid; };
}

Result<Applied> NetActuator::apply(const RemoveNat& step) {
  BGR_CHECK(check_table(step.network_uid, step.table));
  return state_->nft->remove(step.table, owned_by(step.network_uid));
}

void NetActuator::judge(LinkView& view) const {
  view.owner = owner_by_label(view.alias, state_->instance);
  view.leaving = state_->reaper->holds(static_cast<int>(view.index));
}

bool NetActuator::settle(std::chrono::milliseconds limit) { return state_->reaper->settle(limit); }

Result<std::vector<LinkView>> NetActuator::links(const std::vector<NetworkQuery>& networks) {
  Lease socket(*state_->routes);
  BGR_TRY(auto views, read_link_views(*socket));
  for (auto& view : views) {
    judge(view);
    if (view.kind != "bridge" || !view.alias.empty() || view.up) continue;
    const auto network = std::ranges::find(networks, view.name, &NetworkQuery::bridge);
    if (network == networks.end()) continue;
    BGR_TRY(const auto record, read_link(*socket, static_cast<int>(view.index)));
    if (record && is_half_made(*record, network->uid)) view.owner = network->uid;
  }
  return views;
}

Result<std::optional<LinkView>> NetActuator::link(const std::string& name) {
  if (!is_link_name(name)) return fail(invalid(fmt::format("\"{}\" is not a link name", printable(name))));
  BGR_TRY(const auto index, state_->names->index_of(name));
  if (!index) return std::optional<LinkView>{};
  Lease socket(*state_->routes);
  BGR_TRY(auto view, read_link_view(*socket, *state_->names, name));
  if (view) judge(*view);
  return view;
}

Result<std::vector<RouteView>> NetActuator::routes() {
  Lease socket(*state_->routes);
  return read_route_views(*socket);
}

Result<std::vector<NatView>> NetActuator::nat_tables() {
  BGR_TRY(const auto tables, state_->nft->tables());
  std::vector<NatView> views;
  views.reserve(tables.size());
  for (const auto& table : tables) {
    views.push_back(view_of(table));
    views.back().owner = owner_by_label(table.comment, state_->instance);
  }
  return views;
}

Result<bool> NetActuator::forwarding() { return read_forwarding(); }

std::vector<std::string> NetActuator::host_nameservers() {
  for (const auto* path : {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}) {
    const auto text = read_file(path, kib(64));
    if (!text) continue;
    if (auto servers = nameservers_of(*text); !servers.empty()) return servers;
  }
  return {};
}

Result<void> NetActuator::watch(std::function<void(const std::string& uid)> hint) {
  const auto learn = [this](HintFilter& filter) -> Result<void> {
    Lease socket(*state_->routes);
    BGR_TRY(const auto links, read_link_records(*socket));
    // Tables that change right now tell their label in the event itself.
    filter.learn(links, state_->nft->tables().value_or(std::vector<NatTable>{}));
    return {};
  };
  const auto leaving = [reaper = state_->reaper.get()](int index) { return reaper->holds(index); };
  BGR_TRY(state_->watcher, Watcher::start(std::move(hint), learn, leaving));
  return {};
}

}  // namespace banger::actuators::net
