// SPDX-License-Identifier: Apache-2.0
// QEMU's command line for one VM: a pure function of the step. The machine is microvm with ACPI: Debian's kernels find their
// virtio-mmio devices no other way.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/step.hpp"
#include "actuators/vmm/accelerator.hpp"
#include "base/result.hpp"

namespace banger::actuators::vmm {

struct QemuHost {
  std::string qemu_path;
  std::string monitor_socket;
  Accelerator accelerator;
  std::uint64_t tsc_khz = 0;  // 0: unknown, the guest measures by itself
};

// microvm with ACPI has 24 virtio-mmio places (QEMU 7.2: a 25th device finds no bus); one is for the random number device.
inline constexpr std::size_t kMaxVirtioDevices = 24;
inline constexpr std::size_t kMaxCommandLine =
    2047;  // Linux on x86: COMMAND_LINE_SIZE less its zero; the rest is cut off in silence
inline constexpr std::size_t kMaxSocketPath = 107;  // sun_path less its terminating zero

// The arguments, argv[0] first. Descriptor 3 is the event monitor that the shim holds the other end of; the serial line is
// standard output. Invalid, with a sentence, for what this machine cannot have or a command line cannot say.
Result<std::vector<std::string>> qemu_command(const LaunchVmm& step, const QemuHost& host);

// "tcg" or "kvm" as the command line of a QEMU that runs says it; empty if it does not.
std::string accelerator_of(const std::vector<std::string>& arguments);

}  // namespace banger::actuators::vmm
