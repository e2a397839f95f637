// SPDX-License-Identifier: Apache-2.0
// The version that meson.build gives.
#pragma once

#include <string_view>

namespace banger::daemon {

inline constexpr std::string_view kProgramVersion = BANGER_VERSION;

}  // namespace banger::daemon
