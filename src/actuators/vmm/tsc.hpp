// SPDX-License-Identifier: Apache-2.0
// The frequency of the host's time stamp counter. A guest under TCG on a busy host fails to measure it and hangs at boot
// (32 of 32 boots, four at a time); told by tsc_early_khz=, it does not.
#pragma once

#include <cstdint>

namespace banger::actuators::vmm {

// In kHz, against CLOCK_MONOTONIC_RAW; measured at the first call (about 50 ms), remembered after. 0 where there is no such
// counter.
std::uint64_t host_tsc_khz();

}  // namespace banger::actuators::vmm
