// SPDX-License-Identifier: Apache-2.0
// Links, addresses and routes as the kernel tells them, put together into views.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/net/link_messages.hpp"
#include "actuators/net/link_names.hpp"
#include "actuators/net/route_socket.hpp"
#include "base/result.hpp"

namespace banger::actuators::net {

Result<std::optional<LinkRecord>> read_link(RouteSocket& socket, std::string_view name);
Result<std::optional<LinkRecord>> read_link(RouteSocket& socket, int index);
Result<std::vector<LinkRecord>> read_link_records(RouteSocket& socket);
Result<std::vector<Cidr>> read_addresses(RouteSocket& socket, int index);

Result<std::vector<LinkView>> read_link_views(RouteSocket& socket);
Result<std::optional<LinkView>> read_link_view(RouteSocket& socket, const LinkNames& names, std::string_view name);
Result<std::vector<RouteView>> read_route_views(RouteSocket& socket);

// What puts records together: names the masters and hands each link its addresses, in index order. Pure.
std::vector<LinkView> views_of(std::vector<LinkRecord> links, const std::vector<AddressRecord>& addresses);

}  // namespace banger::actuators::net
