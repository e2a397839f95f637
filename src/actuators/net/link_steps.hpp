// SPDX-License-Identifier: Apache-2.0
// The steps that change links, each: look, refuse what is not ours, change what differs.
#pragma once

#include <string>
#include <string_view>

#include "actuators/net/route_socket.hpp"
#include "actuators/net/tap_reaper.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators::net {

// 1..15 characters of [A-Za-z0-9._-], not "." or "..", not starting with '-': what we let near the kernel, which takes far more.
bool is_link_name(std::string_view name);

// Whether it is a bridge that a crash left between its creation and its label: without one, never up, with the MAC of this uid.
bool is_half_made(const LinkRecord& link, std::string_view uid);

// instance: of this daemon (names.hpp); what another one labelled is as foreign as what nobody did.
Result<Applied> make_bridge(RouteSocket& socket, const MakeBridge& step, const std::string& instance);
// Busy: the tap of this name is about to go.
Result<Applied> make_tap(RouteSocket& socket, const MakeTap& step, const std::string& instance, const TapReaper& reaper);
// A tap is handed to the reaper: it goes soon. Once it is, Unchanged; when that failed, why, once.
Result<Applied> remove_link(RouteSocket& socket, const RemoveLink& step, const std::string& instance, TapReaper& reaper);

}  // namespace banger::actuators::net
