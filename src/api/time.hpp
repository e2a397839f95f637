// SPDX-License-Identifier: Apache-2.0
// Points in time as text that loses nothing.
#pragma once

#include <string>

#include "base/clock.hpp"

namespace banger::api {

// RFC 3339 in UTC; with three digits of a second where they are not zero, so that stored times come back equal.
std::string format_time_exact(WallTime time);

}  // namespace banger::api
