// SPDX-License-Identifier: Apache-2.0
// What has to be true, and put in its place, before a VMM is started.
#pragma once

#include <string>
#include <vector>

#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "actuators/vmm/accelerator.hpp"
#include "base/result.hpp"

namespace banger::actuators::vmm {

// configured, or qemu-system-x86_64 on PATH when that is empty. Unavailable with what to install.
Result<std::string> find_qemu(const std::string& configured);

// configured; when that is empty, banger-shim in $BANGER_LIBEXEC, beside the running program, in ../libexec/banger of it, or
// where the build puts it; the bare name when it is nowhere.
std::string find_shim(const std::string& configured);

// Everything that QEMU would only say in its log: shim, kernel, initrd and disks can be opened, no VMM holds a disk (Busy), taps
// and KVM can be used.
Result<void> check_launch(const LaunchVmm& step, const std::string& shim_path, const Accelerator& accelerator);

// Somebody listens on the Unix socket.
bool is_answered(const std::string& path);

// Makes the run directory and takes away what an earlier VMM left in it. Busy if the monitor socket is still answered.
Result<void> clear_for_launch(const Layout& layout, const std::string& uid);

std::vector<std::string> shim_command(const LaunchVmm& step, const Layout& layout, const std::string& shim_path,
                                      std::uint64_t serial_log_max, const std::vector<std::string>& vmm);

}  // namespace banger::actuators::vmm
