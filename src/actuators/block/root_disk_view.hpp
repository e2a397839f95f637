// SPDX-License-Identifier: Apache-2.0
// What the kernel shows of VMs' root disks that are dm-snapshots: nodes and loops.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "base/result.hpp"

namespace banger::actuators::block {

struct RootDiskView {
  std::optional<SnapshotView> snapshot;
  std::vector<LoopView> loops;  // by device
  std::string unseen{};         // why they could not be looked at; neither of the two is known then
  bool operator==(const RootDiskView&) const = default;
};

// One VM. While its node is live only the two loops below that are looked at; else all loops are.
Result<RootDiskView> observe_root_disk(const Layout& layout, const std::string& vm_uid);

// These VMs, and every other whose node stands over a file below this layout, in one pass over all nodes and loops. A VM of
// which nothing is found is left out. with_files: those of them that may have root.base or root.cow.
Result<std::map<std::string, RootDiskView>> observe_root_disks(const Layout& layout, const std::set<std::string>& vm_uids,
                                                               const std::set<std::string>& with_files);

// Every node of our names, half-made ones too, and of our uuids under whatever name. Where device-mapper does not answer: none.
Result<std::vector<SnapshotView>> observe_root_nodes(const Layout& layout);

// The uid in the name that dm_name() gives.
std::optional<std::string> uid_of_dm_name(const std::string& name);

}  // namespace banger::actuators::block
