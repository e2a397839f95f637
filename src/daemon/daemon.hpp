// SPDX-License-Identifier: Apache-2.0
// The daemon's life: the only place that constructs the concrete ports.
#pragma once

#include "base/result.hpp"
#include "daemon/options.hpp"

namespace banger::daemon {

// Runs until SIGTERM or SIGINT. VMs are never touched by its end.
Result<void> run(const Options& options);

}  // namespace banger::daemon
