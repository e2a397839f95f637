// SPDX-License-Identifier: Apache-2.0
// Named places where a test may make the program stop dead or a call fail.
#pragma once

#include <optional>
#include <string_view>

#include "base/error.hpp"

namespace banger {

// What BANGER_FAILPOINTS says of this point now, e.g.
// BANGER_FAILPOINTS="step.LaunchVmm.after=2*off->kill;store.write=error(ENOSPC)". Terms, left to right, each `N*` times (once for
// ever without a count): off, kill (SIGKILL to ourselves), error(ENAME). Returns the error to answer with, or nothing. Builds
// with -Dfailpoints=false (release packages) compile it to nothing.
#ifdef BANGER_FAILPOINTS
std::optional<Error> failpoint(std::string_view name);
#else
inline std::optional<Error> failpoint(std::string_view) { return std::nullopt; }
#endif

}  // namespace banger
