// SPDX-License-Identifier: Apache-2.0
// The configuration that a guest boots with, as the text of base/guest_config_format.hpp, and what tells two of them apart. Pure.
#pragma once

#include <string>

#include "actuators/step.hpp"

namespace banger::actuators {

// Without the files' contents, which stand beside it.
std::string boot_config_text(const GuestConfig& config);

// 64 hexadecimal digits, of the configuration with all contents and the path of the base initrd. What Host::observe_vm reports as
// initrd_config_hash.
std::string boot_config_hash(const GuestConfig& config, const std::string& base_initrd);

}  // namespace banger::actuators
