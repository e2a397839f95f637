// SPDX-License-Identifier: Apache-2.0
// How a VMM ended, read from what its shim wrote down.
#pragma once

#include <string_view>

#include "actuators/host.hpp"
#include "base/result.hpp"

namespace banger::actuators::vmm {

// Of exit.json (src/shim/exit_record.hpp). The reason is told from the signal, from the last SHUTDOWN event of the VMM's event
// monitor, from the kernel's own words on the serial line (QEMU reports a panic and a reboot alike as guest-reset), and from
// whether the machine was ever built. Without an event, exit code 0 counts as GuestShutdown.
Result<ExitView> parse_exit_record(std::string_view text);

}  // namespace banger::actuators::vmm
