// SPDX-License-Identifier: Apache-2.0
// The initrd that one VM boots: its kernel's, and after it an archive with the VM's configuration.
#pragma once

#include <optional>
#include <string>

#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators::image {

// Writes <vm_dir>/initrd (0600, durable). With an SSH user the guest's host key and the daemon's public client key go along; both
// keys must be there. Unchanged when the file was made from this configuration and base already.
Result<Applied> apply(const WriteVmInitrd& step, const Layout& layout);

// boot_config_hash() of what <vm_dir>/initrd was made from; nothing when it is absent or not whole.
std::optional<std::string> observe_initrd_hash(const Layout& layout, const std::string& vm_uid);

}  // namespace banger::actuators::image
