// SPDX-License-Identifier: Apache-2.0
// The model's things as an inventory, put together by the same rules as a real host's.
#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {

DirectoryFacts SimHost::directory_of(const std::string& uid) const {
  DirectoryFacts out{.type = HostObjectType::NetworkDirectory, .path = network_dir(layout_, uid), .uid = uid, .of = {}};
  const auto record = records_.find(uid);
  out.recorded = record != records_.end() && record->second.object;
  if (out.recorded) out.of = api::key_of(*record->second.object);
  if (!files_below(image_dir(layout_, uid).string() + "/").empty() || (out.of && out.of->kind == api::Kind::Image)) {
    out.type = HostObjectType::ImageDirectory;
    out.path = image_dir(layout_, uid);
    out.holds_data = true;
  } else if (!files_below(kernel_dir(layout_, uid).string() + "/").empty() || (out.of && out.of->kind == api::Kind::Kernel)) {
    out.type = HostObjectType::KernelDirectory;
    out.path = kernel_dir(layout_, uid);
  }
  return out;
}

Result<std::vector<HostObject>> SimHost::inventory() {
  const std::lock_guard lock(mutex_);
  reap_taps([](const LinkView&) { return true; });  // it is read once those are gone
  InventoryFacts facts{.instance = instance_, .layout = layout_};
  for (const auto& [name, link] : links_) facts.links.push_back(link);
  for (const auto& [table, nat] : nats_) facts.nats.push_back(nat);
  for (const auto& [uid, vm] : vms_) {
    auto view = view_of(uid, 0, false);
    if (vm.cgroup || !view.vmm.processes.empty()) facts.vmms.emplace(uid, std::move(view.vmm));
    if (vm.directory) {
      const bool readable = view.sidecar.has_value();
      facts.directories.push_back({.type = HostObjectType::VmDirectory,
                                   .path = vm_dir(layout_, uid),
                                   .uid = uid,
                                   .of = {},
                                   .recorded = readable,
                                   .holds_data = !vm.disks.empty()});
      if (readable) facts.records.emplace(uid, *view.sidecar);
    }
    if (vm.run_directory)
      facts.directories.push_back({.type = HostObjectType::RunDirectory, .path = vm_run_dir(layout_, uid), .uid = "", .of = {}});
  }
  const auto images = layout_.state_dir / "images";
  for (const auto& [device, loop] : loops_) {
    facts.loops.push_back(loop.view);
    // A base is its image's, by whichever VM's name the loop was made; or a VM's that holds it when the image is gone.
    for (const auto& [path, inode] : inodes_) {
      const auto directory = std::filesystem::path(path).parent_path();
      if (inode == loop.inode && directory.parent_path() == images) facts.owner_of_loop.emplace(device, directory.filename());
    }
    for (const auto& [uid, vm] : vms_) {
      if (vm.directory && vm.base_inode == loop.inode) facts.owner_of_loop.emplace(device, uid);
    }
  }
  for (const auto& [name, node] : nodes_) {
    const auto uid = uid_of_dm_uuid(node.view.uuid);
    facts.nodes.push_back(uid ? node_view(*uid).value_or(node.view) : node.view);
  }
  for (const auto& uid : directories_) {
    facts.directories.push_back(directory_of(uid));
  }
  return inventory_of(facts);
}

}  // namespace banger::actuators::sim
