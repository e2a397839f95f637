// SPDX-License-Identifier: Apache-2.0
// What happens to the model's loops and device-mapper nodes from outside, and what tests look at.
#include <fmt/format.h>

#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {

void SimHost::set_device_mapper(bool present) {
  const std::lock_guard lock(mutex_);
  device_mapper_ = present;
}
void SimHost::set_free_loops(std::optional<std::size_t> free) {
  const std::lock_guard lock(mutex_);
  free_loops_ = free;
}
void SimHost::fill_cow(const std::string& vm_uid, Bytes used) {
  {
    const std::lock_guard lock(mutex_);
    Vm& vm = vms_.at(vm_uid);
    const auto size = vm.disks.at("root").size;
    vm.cow->used = std::min(used, size);
    if (auto* node = own_node(vm_uid); node != nullptr && used > size) node->view.overflow = true;
  }
  hint({vm_uid});
}
void SimHost::break_cow(const std::string& vm_uid) {
  {
    const std::lock_guard lock(mutex_);
    vms_.at(vm_uid).cow->valid = false;
    if (auto* node = own_node(vm_uid)) node->view.invalid = true;
  }
  hint({vm_uid});
}
void SimHost::mend_cow(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  vms_.at(vm_uid).cow->valid = true;
}
void SimHost::set_free_minors(std::optional<std::size_t> free) {
  const std::lock_guard lock(mutex_);
  free_minors_ = free;
}
void SimHost::half_grow(const std::string& vm_uid, Bytes size) {
  const std::lock_guard lock(mutex_);
  vms_.at(vm_uid).disks.at("root").size = size;
}
void SimHost::blind(const std::string& vm_uid, std::string why) {
  const std::lock_guard lock(mutex_);
  blind_.erase(vm_uid);
  if (!why.empty()) blind_.emplace(vm_uid, std::move(why));
}
void SimHost::half_create(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  nodes_[dm_name(vm_uid)] = Node{.view = {.name = dm_name(vm_uid), .uuid = dm_uuid(vm_uid)}};
}
void SimHost::suspend(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  nodes_.at(dm_name(vm_uid)).view.suspended = true;
}
void SimHost::wipe_node(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  auto& view = nodes_.at(dm_name(vm_uid)).view;
  view.live = false;
  view.origin.clear();
  view.cow.clear();
  drop_idle_loops();
}
bool SimHost::remove_node(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  if (open_count(vm_uid) > 0) return false;
  nodes_.erase(dm_name(vm_uid));
  drop_idle_loops();
  return true;
}
void SimHost::rename_node(const std::string& vm_uid, const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto entry = nodes_.extract(dm_name(vm_uid));
  entry.key() = name;
  entry.mapped().view.name = name;
  nodes_.insert(std::move(entry));
}
void SimHost::add_node(const std::string& name, const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  nodes_[name] = Node{.view = {.name = name, .uuid = uuid, .live = true}};
}
void SimHost::open_node(const std::string& vm_uid, bool open) {
  const std::lock_guard lock(mutex_);
  nodes_.at(dm_name(vm_uid)).opened = open;
}
std::string SimHost::add_loop(const std::string& path, const std::string& label) {
  const std::lock_guard lock(mutex_);
  Loop loop{.view = {.device = fmt::format("/dev/loop{}", next_loop_++), .backing = path, .label = label}, .held = true};
  for (const auto& [uid, vm] : vms_) {
    if (vm.cow && path == root_cow_path(layout_, uid)) loop.inode = vm.cow->inode;
  }
  auto device = loop.view.device;
  loops_[device] = std::move(loop);
  return device;
}
void SimHost::hold_loop(const std::string& device, bool held) {
  const std::lock_guard lock(mutex_);
  loops_.at(device).held = held;
  drop_idle_loops();
}
void SimHost::detach(const std::string& device) {
  const std::lock_guard lock(mutex_);
  const auto found = loops_.find(device);
  if (found == loops_.end()) return;
  found->second.view.autoclear = true;
  found->second.held = false;
  drop_idle_loops();
}
std::vector<SnapshotView> SimHost::nodes() const {
  const std::lock_guard lock(mutex_);
  std::vector<SnapshotView> all;
  for (const auto& [name, node] : nodes_) all.push_back(node.view);
  return all;
}
std::vector<LoopView> SimHost::loops() const {
  const std::lock_guard lock(mutex_);
  std::vector<LoopView> all;
  for (const auto& [device, loop] : loops_) all.push_back(loop.view);
  return all;
}

}  // namespace banger::actuators::sim
