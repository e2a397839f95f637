// SPDX-License-Identifier: Apache-2.0
// The directories of VMs, images and kernels, and vm.json in a VM's.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators {

// Fills in directory_exists, sidecar and sidecar_error.
void add_sidecar(VmView& view, const Layout& layout);

// The VM's directory must be there (NotFound) and ours alone (Denied). Unchanged when the file says the same already. What stands
// there and cannot be trusted (damaged, not ours, writable by others, a link) is kept as vm.json.bad-<n>.
Result<Applied> write_sidecar(const Sidecar& sidecar, const Layout& layout);

// The tree below and including it; links are removed, not followed; the removal is synced. Unchanged when there is none.
Result<Applied> remove_directory(const std::filesystem::path& path);

// The uids that have a directory below <state>/vms.
std::set<std::string> vm_directories(const Layout& layout);

}  // namespace banger::actuators
