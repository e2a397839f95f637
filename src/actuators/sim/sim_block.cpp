// SPDX-License-Identifier: Apache-2.0
// Loops and device-mapper nodes of the model, by what was measured of the kernel: a loop with AUTOCLEAR is gone when nothing
// holds it; one read-only loop serves all clones of a base; a full COW of type PO overflows and can be grown, a broken one is
// invalid for good; an overflow stays until the COW is grown or the node made anew.
#include <fmt/format.h>

#include <algorithm>

#include "actuators/cow_size.hpp"
#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {
namespace {

Error busy(std::string message) { return {.code = ErrorCode::Busy, .message = std::move(message), .sys_errno = 0}; }
Error conflict(std::string message) { return {.code = ErrorCode::Conflict, .message = std::move(message), .sys_errno = 0}; }
Error unavailable(std::string message) { return {.code = ErrorCode::Unavailable, .message = std::move(message), .sys_errno = 0}; }

}  // namespace

std::int64_t SimHost::inode_of(const std::string& path) {
  const auto [found, added] = inodes_.try_emplace(path, next_inode_);
  if (added) ++next_inode_;
  return found->second;
}

// By its name, or else by its uuid: somebody may have renamed it.
const SimHost::Node* SimHost::find_node(const std::string& vm_uid) const {
  if (const auto found = nodes_.find(dm_name(vm_uid)); found != nodes_.end()) return &found->second;
  const auto uuid = dm_uuid(vm_uid);
  const auto found = std::ranges::find_if(nodes_, [&](const auto& entry) { return entry.second.view.uuid == uuid; });
  return found == nodes_.end() ? nullptr : &found->second;
}
SimHost::Node* SimHost::find_node(const std::string& vm_uid) { return const_cast<Node*>(std::as_const(*this).find_node(vm_uid)); }

SimHost::Node* SimHost::own_node(const std::string& vm_uid) {
  auto* node = find_node(vm_uid);
  return node == nullptr || node->view.uuid != dm_uuid(vm_uid) ? nullptr : node;
}

std::int64_t SimHost::open_count(const std::string& vm_uid) const {
  const auto* node = find_node(vm_uid);
  std::int64_t count = node != nullptr && node->opened ? 1 : 0;
  const auto vm = vms_.find(vm_uid);
  if (vm == vms_.end() || !vm->second.vmm || !vm->second.launch) return count;
  return count + std::ranges::count(vm->second.launch->disks, dm_device_path(vm_uid).string(), &VmmDisk::path);
}

std::optional<SnapshotView> SimHost::node_view(const std::string& vm_uid) const {
  const auto* found = find_node(vm_uid);
  if (found == nullptr) return std::nullopt;
  auto view = found->view;
  view.ours = view.uuid == dm_uuid(vm_uid);
  view.open_count = open_count(vm_uid);
  if (!view.ours || !view.live) return view;
  if (const auto loop = loops_.find(view.origin); loop != loops_.end()) view.origin_file = loop->second.view.backing;
  const auto loop = loops_.find(view.cow);
  if (loop != loops_.end()) view.cow_file = loop->second.view.backing;
  if (loop != loops_.end()) view.cow_size = loop->second.view.size;
  const auto vm = vms_.find(vm_uid);
  if (vm != vms_.end() && vm->second.cow) view.cow_used = vm->second.cow->used;
  return view;
}

std::vector<LoopView> SimHost::loops_of(const std::string& vm_uid) const {
  std::vector<LoopView> found;
  const auto directory = vm_dir(layout_, vm_uid).string() + "/";
  for (const auto& [device, loop] : loops_) {
    if (loop.view.backing.starts_with(directory) || loop.view.label == cow_loop_label(vm_uid)) found.push_back(loop.view);
  }
  return found;
}

bool SimHost::loop_in_use(const std::string& device) const {
  return std::ranges::any_of(
      nodes_, [&](const auto& entry) { return entry.second.view.origin == device || entry.second.view.cow == device; });
}

void SimHost::drop_idle_loops() {
  std::erase_if(
      loops_, [&](const auto& entry) { return entry.second.view.autoclear && !entry.second.held && !loop_in_use(entry.first); });
}

Result<std::string> SimHost::loop_over(std::int64_t inode, const LoopView& wanted) {
  for (const auto& [device, loop] : loops_) {
    const bool fits = loop.inode == inode && loop.view.autoclear && loop.view.read_only == wanted.read_only;
    if (fits && loop.view.label == wanted.label) return device;
  }
  if (free_loops_ && *free_loops_ == 0) return fail(unavailable("there is no free loop device"));
  if (free_loops_) --*free_loops_;
  Loop loop{.view = wanted, .inode = inode};
  loop.view.device = fmt::format("/dev/loop{}", next_loop_++);
  loop.view.autoclear = true;
  auto device = loop.view.device;
  loops_.emplace(device, std::move(loop));
  return device;
}

Result<void> SimHost::check_names(const std::string& vm_uid, const Cow& cow) const {
  const auto node = nodes_.find(dm_name(vm_uid));
  if (node != nodes_.end() && node->second.view.uuid != dm_uuid(vm_uid))
    return fail(
        conflict(fmt::format("NameConflict: the device {} is not ours (uuid \"{}\")", node->first, node->second.view.uuid)));
  for (const auto& [device, loop] : loops_) {
    if (loop.inode != cow.inode) continue;
    const bool elsewhere = std::ranges::any_of(
        nodes_, [&](const auto& entry) { return entry.second.view.uuid != dm_uuid(vm_uid) && entry.second.view.cow == device; });
    if (elsewhere || loop.view.label != cow_loop_label(vm_uid))
      return fail(conflict(fmt::format("NameConflict: {} stands over {} and is not ours", device, loop.view.backing)));
  }
  return {};
}

bool SimHost::stands_as_wanted(const Node& node, const Vm& vm, Bytes size) const {
  if (!node.view.live || node.view.size < size) return false;
  const auto origin = loops_.find(node.view.origin);
  const auto cow = loops_.find(node.view.cow);
  return origin != loops_.end() && cow != loops_.end() && origin->second.inode == vm.base_inode &&
         cow->second.inode == vm.cow->inode;
}

Result<void> SimHost::check_seen(const std::string& vm_uid) const {
  const auto blind = blind_.find(vm_uid);
  return blind == blind_.end() ? Result<void>{} : fail(unavailable(blind->second));
}

// What a VMM asked of a node that is suspended never comes back, and without it the process does not end.
bool SimHost::waits_for_node(const std::string& vm_uid) const {
  const auto* node = find_node(vm_uid);
  return node != nullptr && node->view.suspended && open_count(vm_uid) > 0;
}

bool SimHost::resume(Node& node, const std::string& vm_uid) {
  if (!std::exchange(node.view.suspended, false)) return false;
  const auto vm = vms_.find(vm_uid);
  if (vm != vms_.end() && vm->second.killed && vm->second.vmm && !hold_kills_)
    end_vmm(vm_uid, vm->second, {.reason = "Killed", .signal = 9, .message = ""});
  return true;
}

Result<Applied> SimHost::run(const ActivateRootDisk& step) {
  if (!device_mapper_) return fail(unavailable("there is no device-mapper"));
  BGR_CHECK(check_seen(step.vm_uid));
  const auto found = vms_.find(step.vm_uid);
  if (auto* node = own_node(step.vm_uid);
      node != nullptr && node->view.suspended && (open_count(step.vm_uid) > 0 || found == vms_.end() || !found->second.cow)) {
    resume(*node, step.vm_uid);
    return Applied::Changed;
  }
  if (found == vms_.end() || !found->second.cow)
    return fail(not_found("activating the root disk: no " + root_cow_path(layout_, step.vm_uid).string()));
  Vm& vm = found->second;
  BGR_CHECK(check_names(step.vm_uid, *vm.cow));
  const auto name = dm_name(step.vm_uid);
  if (free_minors_ && *free_minors_ == 0 && own_node(step.vm_uid) == nullptr)
    return fail(unavailable("device-mapper has no free minor number"));
  if (auto* node = own_node(step.vm_uid)) {
    if (node->view.name == name && stands_as_wanted(*node, vm, step.size))
      return resume(*node, step.vm_uid) ? Applied::Changed : Applied::Unchanged;
    if (open_count(step.vm_uid) > 0) return fail(busy("activating the root disk: " + name + " is open"));
    nodes_.erase(std::string(node->view.name));
    drop_idle_loops();
  }
  base_sizes_[vm.base_inode] = std::max(base_sizes_[vm.base_inode], step.size);
  const auto origin = loop_over(
      vm.base_inode,
      {.backing = root_base_path(layout_, step.vm_uid).string(), .read_only = true, .size = base_sizes_[vm.base_inode]});
  if (!origin) return fail(origin.error());
  loops_.at(*origin).view.size = base_sizes_[vm.base_inode];
  const auto cow = loop_over(vm.cow->inode, {.backing = root_cow_path(layout_, step.vm_uid).string(),
                                             .label = cow_loop_label(step.vm_uid),
                                             .size = vm.disks.at("root").size});
  if (!cow) {
    drop_idle_loops();
    return fail(cow.error());
  }
  Node node{
      .view = {.name = name, .uuid = dm_uuid(step.vm_uid), .live = true, .size = step.size, .origin = *origin, .cow = *cow}};
  node.view.invalid = !vm.cow->valid;
  nodes_[name] = std::move(node);
  if (free_minors_ && *free_minors_ > 0) --*free_minors_;
  return Applied::Changed;
}

Result<Applied> SimHost::run(const GrowRootCow& step) {
  const auto found = vms_.find(step.vm_uid);
  if (found == vms_.end() || !found->second.cow)
    return fail(not_found("growing the COW: no " + root_cow_path(layout_, step.vm_uid).string()));
  BGR_CHECK(check_seen(step.vm_uid));
  auto& file = found->second.disks.at("root");
  const bool grows = file.size < step.size;
  if (grows && space_ != SpaceLevel::Plenty) return fail(unavailable("too little would be left free in its file system"));
  file.size = std::max(file.size, step.size);
  bool told = false;
  for (auto& [device, loop] : loops_) {
    if (loop.inode != found->second.cow->inode || loop.view.label != cow_loop_label(step.vm_uid)) continue;
    told = told || loop.view.size != file.size;
    loop.view.size = file.size;
  }
  // A larger one of another loop takes over what the full one kept.
  if (auto* node = own_node(step.vm_uid); node != nullptr && (grows || told)) node->view.overflow = false;
  return grows || told ? Applied::Changed : Applied::Unchanged;
}

Result<Applied> SimHost::run(const DeactivateRootDisk& step) {
  BGR_CHECK(check_seen(step.vm_uid));
  const auto* node = own_node(step.vm_uid);
  if (node == nullptr) return Applied::Unchanged;
  if (populated(step.vm_uid)) return fail(internal("removing the root disk's device under a living VMM: no plan may say this"));
  if (open_count(step.vm_uid) > 0) return fail(busy("removing the root disk's device: it is open"));
  nodes_.erase(std::string(node->view.name));
  drop_idle_loops();
  return Applied::Changed;
}

// root.base and root.cow of a new disk, or a longer base for an old one.
Result<std::string> SimHost::make_cow(const MakeRootDisk& job, Vm& vm) {
  if (!device_mapper_) return fail(unavailable("there is no device-mapper"));
  if (!vm.cow) {
    const auto base = facts_of(job.base_path);
    if (!base.exists) return fail(not_found("making the root disk: no base " + job.base_path));
    vm.base_inode = inode_of(job.base_path);
    base_sizes_.try_emplace(vm.base_inode, base.size);
    vm.cow = Cow{.inode = next_inode_++, .used = kChunkSize};
    const auto size = job.cow_size.value != 0 ? job.cow_size : default_cow_size(std::max(base.size, job.size));
    vm.disks["root"] = {.name = "root",
                        .path = root_cow_path(layout_, job.vm_uid).string(),
                        .size = size,
                        .allocated = size,
                        .backend = "dm-snapshot"};
  }
  base_sizes_[vm.base_inode] = std::max(base_sizes_[vm.base_inode], job.size);
  return "dm-snapshot";
}

void SimHost::unlink_block_files(Vm& vm, const std::string& vm_uid) {
  vm.cow.reset();
  vm.base_inode = 0;
  const auto directory = vm_dir(layout_, vm_uid).string() + "/";
  for (auto& [device, loop] : loops_) {
    if (loop.view.backing.starts_with(directory)) loop.view.deleted = true;
  }
}

}  // namespace banger::actuators::sim
