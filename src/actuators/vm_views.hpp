// SPDX-License-Identifier: Apache-2.0
// Puts what was read of a host together into one view a VM: the same one as the time before where no part has changed.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "actuators/block/root_disk_view.hpp"
#include "actuators/host.hpp"
#include "actuators/vm_file_looks.hpp"
#include "actuators/vmm/machines.hpp"
#include "base/shared.hpp"

namespace banger::actuators {

struct VmParts {
  Shared<VmFiles> files;
  vmm::Look machine;
  const block::RootDiskView* root = nullptr;  // null: nothing of one
  std::vector<const LinkView*> links;         // by name
  std::vector<Shared<JobView>> jobs;
};

VmView view_of(const std::string& uid, const VmFiles& files, const std::string& boot_id);

class VmViews {
 public:
  explicit VmViews(std::string boot_id) : boot_id_(std::move(boot_id)) {}

  Shared<VmView> view_of(const std::string& uid, VmParts parts);
  void keep_only(const std::map<std::string, Shared<VmView>>& views);  // all of them given out in this round

 private:
  struct Given {
    Shared<VmFiles> files;
    Shared<VmmView> vmm;
    std::vector<Shared<JobView>> jobs;
    Shared<VmView> view;
  };
  const std::string boot_id_;
  std::unordered_map<std::string, Given> given_;
};

// The links of each VM, sorted by name: those labelled with its uid, and those that bear one of its tap names with another label
// or none. What belongs to no uid of the set is left out.
std::unordered_map<std::string_view, std::vector<const LinkView*>> links_by_vm(const std::vector<LinkView>& links,
                                                                               const std::set<std::string>& uids);

}  // namespace banger::actuators
