// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_steps.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "actuators/names.hpp"
#include "actuators/net/link_reader.hpp"
#include "actuators/net/tap_device.hpp"
#include "base/failpoint.hpp"
#include "base/inet.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::actuators::net {
namespace {

constexpr std::int64_t kLeastMtu = 68;  // RFC 791; the schema is stricter
constexpr std::int64_t kMostMtu = 65535;
constexpr std::chrono::seconds kTapsGo{5};  // before a bridge goes

Result<void> check_step(std::string_view uid, std::string_view name, std::int64_t mtu) {
  if (!is_uid(uid)) return fail(invalid(fmt::format("owner \"{}\" is not a uid", printable(uid))));
  if (!is_link_name(name)) {
    return fail(invalid(fmt::format("link name \"{}\": expected 1 to 15 of A-Z a-z 0-9 . _ -", printable(name))));
  }
  if (mtu < kLeastMtu || mtu > kMostMtu) return fail(invalid(fmt::format("mtu {}: expected {}..{}", mtu, kLeastMtu, kMostMtu)));
  return {};
}

Error name_conflict(const LinkView& link) {
  return {ErrorCode::Conflict,
          fmt::format("NameConflict: link {} exists and is not ours (alias \"{}\")", link.name, printable(link.alias)), 0};
}

// Bridges get their MAC at birth and their alias in the message after it (the kernel ignores an alias at creation).
Mac bridge_mac(std::string_view uid) { return parse_mac(mac_of(uid, 0)).value_or(Mac{}); }

bool is_ours(const LinkRecord& link, std::string_view uid, const std::string& instance) {
  return owner_by_label(link.view.alias, instance) == uid || is_half_made(link, uid);
}

Result<Applied> set_address(RouteSocket& socket, const LinkRecord& link, Cidr wanted) {
  BGR_TRY(const auto there, read_addresses(socket, index_of(link)));
  auto applied = Applied::Unchanged;
  // Removal first: deleting the first address of a subnet takes later ones of the same subnet with it.
  for (const auto address : there) {
    if (address == wanted) continue;
    const auto doing = fmt::format("removing address {} from {}", to_string(address), link.view.name);
    auto removed = socket.change(delete_address(index_of(link), address), doing);
    if (!removed && removed.error().sys_errno != EADDRNOTAVAIL) return fail(removed.error());
    applied = Applied::Changed;
  }
  if (applied == Applied::Unchanged && std::ranges::find(there, wanted) != there.end()) return applied;
  const auto doing = fmt::format("setting address {} on {}", to_string(wanted), link.view.name);
  auto added = socket.change(add_address(index_of(link), wanted), doing);
  if (!added && added.error().sys_errno != EEXIST) return fail(added.error());
  return Applied::Changed;
}

// Sends what differs, if anything.
Result<Applied> repair(RouteSocket& socket, const LinkRecord& link, const LinkChange& change) {
  if (change == LinkChange{}) return Applied::Unchanged;
  BGR_CHECK(socket.change(change_link(index_of(link), change), fmt::format("setting up link {}", link.view.name)));
  return Applied::Changed;
}

// Hosts without IPv6 refuse it; there is nothing to silence then.
void keep_quiet(RouteSocket& socket, int index) {
  [[maybe_unused]] const auto refused = socket.change(silence_ipv6(index), "silencing IPv6");
}

Result<LinkRecord> just_made(RouteSocket& socket, std::string_view name) {
  BGR_TRY(auto link, read_link(socket, name));
  if (!link) return fail({ErrorCode::Busy, fmt::format("link {} vanished right after it was made", name), 0});
  return *std::move(link);
}

std::string label_of(const MakeBridge& step, const std::string& instance) {
  return label_text({.uid = step.network_uid, .instance = instance, .of = step.of});
}
std::string label_of(const MakeTap& step, const std::string& instance) {
  return label_text({.uid = step.vm_uid, .instance = instance, .of = step.of});
}

LinkChange bridge_repairs(const LinkRecord& bridge, const MakeBridge& step, const std::string& instance) {
  LinkChange change;
  if (bridge.view.alias.empty()) change.alias = label_of(step, instance);
  if (bridge.view.mtu != step.mtu) change.mtu = step.mtu;
  if (bridge.mac != bridge_mac(step.network_uid)) change.mac = bridge_mac(step.network_uid);
  change.plain_bridge = bridge.spanning_tree || bridge.forward_delay != 0;
  change.up = !bridge.view.up;
  return change;
}

Result<LinkRecord> new_bridge(RouteSocket& socket, const MakeBridge& step, const std::string& instance) {
  const NewBridge wanted{.name = step.name, .mac = bridge_mac(step.network_uid), .mtu = step.mtu};
  BGR_CHECK(socket.change(create_bridge(wanted), fmt::format("making bridge {}", step.name)));
  if (auto stop = failpoint("net.bridge-unlabelled")) return fail(*std::move(stop));
  BGR_TRY(auto bridge, just_made(socket, step.name));
  BGR_CHECK(repair(socket, bridge, {.alias = label_of(step, instance)}));
  keep_quiet(socket, index_of(bridge));
  bridge.view.alias = label_of(step, instance);
  return bridge;
}

Result<LinkRecord> bridge_for_taps(RouteSocket& socket, const std::string& name, const std::string& instance) {
  if (!is_link_name(name)) return fail(invalid(fmt::format("bridge name \"{}\" is not a link name", printable(name))));
  BGR_TRY(auto bridge, read_link(socket, name));
  if (!bridge) return fail(not_found(fmt::format("bridge {} does not exist", name)));
  if (bridge->view.kind != "bridge" || owner_by_label(bridge->view.alias, instance).empty())
    return fail(name_conflict(bridge->view));
  return *std::move(bridge);
}

// The label comes before persistence: a crash at any point leaves either nothing or a tap that is labelled.
Result<LinkRecord> new_tap(RouteSocket& socket, const MakeTap& step, const std::string& instance) {
  BGR_TRY(auto device, TapDevice::create(step.name));
  BGR_TRY(auto tap, just_made(socket, step.name));
  BGR_CHECK(repair(socket, tap, {.alias = label_of(step, instance), .mtu = step.mtu}));
  keep_quiet(socket, index_of(tap));
  BGR_CHECK(device.keep());
  tap.view.mtu = step.mtu;
  return tap;
}

Result<void> refuse_while_it_carries_taps(RouteSocket& socket, const LinkRecord& bridge) {
  BGR_TRY(const auto links, read_link_records(socket));
  const auto ours = std::ranges::count_if(links, [&](const LinkRecord& link) {
    return link.master_index == index_of(bridge) && parse_label(link.view.alias).has_value();
  });
  if (ours == 0) return {};
  return fail({ErrorCode::Busy, fmt::format("bridge {} still carries {} tap(s) of virtual machines", bridge.view.name, ours), 0});
}

Result<void> delete_by_index(RouteSocket& socket, const LinkRecord& link) {
  auto deleted = socket.change(delete_link(index_of(link)), fmt::format("removing link {}", link.view.name));
  if (!deleted && deleted.error().code != ErrorCode::NotFound) return fail(deleted.error());
  return {};
}

// Deletion by netlink would pull the tap from under a process that has it open; attaching tells whether there is one, and from
// then on nobody else can.
Result<Applied> doom(RouteSocket& socket, const LinkRecord& tap, const std::string& owner_uid, TapReaper& reaper) {
  if (reaper.holds(index_of(tap))) return Applied::Unchanged;
  if (auto error = reaper.take_error(index_of(tap))) return fail(*std::move(error));
  auto device = TapDevice::attach(tap.view.name);
  if (!device && device.error().sys_errno == EINVAL) {  // not a tap of our making
    BGR_CHECK(delete_by_index(socket, tap));
    return Applied::Changed;
  }
  if (!device) return fail(device.error());
  // Had it been removed and made anew by another in between, the attachment would be to a foreign tap.
  BGR_TRY(const auto now, read_link(socket, tap.view.name));
  if (now && now->view.index == tap.view.index)
    reaper.note({.index = index_of(tap), .name = tap.view.name, .owner_uid = owner_uid, .device = *std::move(device)});
  return Applied::Changed;
}

}  // namespace

bool is_half_made(const LinkRecord& link, std::string_view uid) {
  return link.view.kind == "bridge" && link.view.alias.empty() && !link.view.up && link.mac == bridge_mac(uid);
}

bool is_link_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 15 && std::ranges::all_of(name, fits) && name != "." && name != ".." &&
         name.front() != '-';
}

Result<Applied> make_bridge(RouteSocket& socket, const MakeBridge& step, const std::string& instance) {
  BGR_CHECK(check_step(step.network_uid, step.name, step.mtu));
  const auto address = parse_cidr(step.address);
  if (!address) return fail(invalid(fmt::format("address \"{}\": expected like 10.1.2.1/24", printable(step.address))));
  BGR_TRY(auto bridge, read_link(socket, step.name));
  auto applied = Applied::Unchanged;
  if (!bridge) {
    BGR_TRY(bridge, new_bridge(socket, step, instance));
    applied = Applied::Changed;
  }
  if (bridge->view.kind != "bridge" || !is_ours(*bridge, step.network_uid, instance)) return fail(name_conflict(bridge->view));
  BGR_TRY(const auto repaired, repair(socket, *bridge, bridge_repairs(*bridge, step, instance)));
  BGR_TRY(const auto addressed, set_address(socket, *bridge, *address));
  const bool changed = repaired == Applied::Changed || addressed == Applied::Changed;
  return changed ? Applied::Changed : applied;
}

Result<Applied> make_tap(RouteSocket& socket, const MakeTap& step, const std::string& instance, const TapReaper& reaper) {
  BGR_CHECK(check_step(step.vm_uid, step.name, step.mtu));
  BGR_TRY(auto tap, read_link(socket, step.name));
  if (tap && (tap->view.kind != "tun" || !is_ours(*tap, step.vm_uid, instance))) return fail(name_conflict(tap->view));
  if (tap && reaper.holds(index_of(*tap)))
    return fail({ErrorCode::Busy, fmt::format("tap {} is being removed; it is made anew after that", step.name), 0});
  BGR_TRY(const auto bridge, bridge_for_taps(socket, step.bridge, instance));
  auto applied = Applied::Unchanged;
  if (!tap) {
    BGR_TRY(tap, new_tap(socket, step, instance));
    applied = Applied::Changed;
  }
  LinkChange change;
  if (tap->view.mtu != step.mtu) change.mtu = step.mtu;
  if (tap->master_index != index_of(bridge)) change.master_index = index_of(bridge);
  change.up = !tap->view.up;
  BGR_TRY(const auto repaired, repair(socket, *tap, change));
  return repaired == Applied::Changed ? repaired : applied;
}

Result<Applied> remove_link(RouteSocket& socket, const RemoveLink& step, const std::string& instance, TapReaper& reaper) {
  BGR_CHECK(check_step(step.owner_uid, step.name, kLeastMtu));
  BGR_TRY(const auto link, read_link(socket, step.name));
  if (!link) return Applied::Unchanged;
  if (!is_ours(*link, step.owner_uid, instance)) return fail(name_conflict(link->view));
  if (link->view.kind == "tun") return doom(socket, *link, step.owner_uid, reaper);
  if (link->view.kind == "bridge") {
    reaper.settle(kTapsGo);
    BGR_CHECK(refuse_while_it_carries_taps(socket, *link));
  }
  BGR_CHECK(delete_by_index(socket, *link));
  return Applied::Changed;
}

}  // namespace banger::actuators::net
