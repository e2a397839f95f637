// SPDX-License-Identifier: Apache-2.0
// How full the copy-on-write files of root disks are, from the VMs' status.
#pragma once

#include "controller/metrics.hpp"
#include "store/objects.hpp"

namespace banger::controller {

// banger_root_disk_cow_used_bytes (to a hundredth of the size, as the status tells it) and banger_root_disk_cow_size_bytes, by
// namespace and name. Machines that have gone, or whose disk is not active, have none. Both outlive the metrics' refreshers.
void publish_cow_fill(store::Objects& objects, Metrics& metrics);

}  // namespace banger::controller
