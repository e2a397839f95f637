// SPDX-License-Identifier: Apache-2.0
// The command line of OpenSSH's client for a VM.
#pragma once

#include <string>
#include <vector>

#include "api/object.hpp"
#include "cli/session.hpp"

namespace banger::cli {

// Arguments of ssh(1), its own name first. Only the host key that bangerd pinned is accepted, only the daemon's key is offered.
// The failure says why this VM cannot be reached now.
Outcome<std::vector<std::string>> ssh_arguments(const api::Object& vm, const std::vector<std::string>& command);

}  // namespace banger::cli
