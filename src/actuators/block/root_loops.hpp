// SPDX-License-Identifier: Apache-2.0
// The two loops below a root disk that is a dm-snapshot: the one of its base, which all disks of that base share, and its own.
#pragma once

#include <filesystem>
#include <string>

#include "actuators/block/loop.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::block {

struct RootLoops {
  LoopDevice base;
  LoopDevice cow;
};

struct RootLoopRequest {
  std::string vm_uid;
  std::filesystem::path base;  // both in the VM's own directory
  std::filesystem::path cow;
  Bytes size;  // of the disk; the base is no shorter
};

// Those that stand, else new ones, which go when the descriptors do unless a node took them. A loop that cannot be asked is an
// error only where it stands over what lies in the VM's own directory; any other is not there for us, and not shared. Errors:
// Conflict (NameConflict) where somebody else has cow, else as LoopDevice::open and attach_loop.
Result<RootLoops> root_loops(const RootLoopRequest& request);

}  // namespace banger::actuators::block
