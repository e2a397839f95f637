// SPDX-License-Identifier: Apache-2.0
// The three-way merge behind `bangerctl apply` and the watched directory: what was applied last, what is to be, and what is
// there.
#pragma once

#include <boost/json/fwd.hpp>
#include <string_view>

namespace banger::api {

// The annotation in which an object keeps what was last applied to it: the manifest as canonical JSON.
inline constexpr std::string_view kLastApplied = "banger.dev/last-applied";

// The RFC 7386 merge patch that turns live into what next says, removing what last had and next has not, and leaving alone what
// neither ever mentioned. Lists are values. Empty object: nothing to do.
boost::json::value three_way_patch(const boost::json::value& last, const boost::json::value& next,
                                   const boost::json::value& live);

}  // namespace banger::api
