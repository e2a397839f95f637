// SPDX-License-Identifier: Apache-2.0
// The disk files of a VM: made whole or not at all, never made anew, never shrunk.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/jobs.hpp"
#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators::block {

// Answers the backend used, "dm-snapshot", "reflink" or "copy"; for auto followed by ": " and why no better one was. An existing
// root disk is left as it is, and its backend answered. Errors: Invalid for a base that is no ext4 file system, a size below the
// base's, a backend that the state directory's file system does not have; Unavailable when there is no device-mapper, the host's
// disk is full (nothing is left behind) or stop was requested.
Result<std::string> run(const MakeRootDisk& job, const Layout& layout, const std::stop_token& stop);

// Answers "made", "grown" or "kept". An existing file that is smaller is extended; its file system grows in the guest.
Result<std::string> run(const MakeDataDisk& job, const Layout& layout, const std::stop_token& stop);

// root.img or root.cow, and every disk-<name>.img of this VM, sorted by name, root first. An absent directory is no error.
Result<std::vector<DiskView>> observe_disks(const Layout& layout, const std::string& vm_uid);

// Through the node of a dm-snapshot too. Changed when there was a disk to sync, Unchanged when there is none.
Result<Applied> apply(const SyncDisks& step, const Layout& layout);

}  // namespace banger::actuators::block
