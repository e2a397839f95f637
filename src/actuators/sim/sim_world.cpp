// SPDX-License-Identifier: Apache-2.0
// What happens to the model from outside, faults, and what tests look at.
#include <fmt/format.h>

#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {

void SimHost::add_file(const std::string& path, Bytes size, std::int64_t mtime_ns) {
  const std::lock_guard lock(mutex_);
  files_[path] = FileFacts{.path = path, .exists = true, .size = size, .mtime_ns = mtime_ns};
}
void SimHost::remove_file(const std::string& path) {
  const std::lock_guard lock(mutex_);
  files_.erase(path);
  inodes_.erase(path);
}
void SimHost::add_host_kernel(HostKernel kernel) {
  const std::lock_guard lock(mutex_);
  files_[kernel.path] = FileFacts{.path = kernel.path, .exists = true, .size = mib(8), .mtime_ns = 1};
  kernels_.push_back(std::move(kernel));
}
void SimHost::add_link(LinkView link) {
  const std::lock_guard lock(mutex_);
  if (link.index == 0) link.index = next_index_++;
  const std::string name = link.name;
  link.owner = owner_by_label(link.alias, instance_);
  links_[name] = std::move(link);
}
void SimHost::remove_link(const std::string& name) {
  std::string owner;
  {
    const std::lock_guard lock(mutex_);
    const auto found = links_.find(name);
    if (found == links_.end()) return;
    owner = found->second.owner;
    for (auto& [other_name, other] : links_) {
      if (other.master == name) other.master.clear();
    }
    links_.erase(found);
    unreaped_.erase(name);
  }
  hint({owner});
}
void SimHost::hold_links(bool held) {
  const std::lock_guard lock(mutex_);
  hold_links_ = held;
}
void SimHost::add_route(RouteView route) {
  const std::lock_guard lock(mutex_);
  routes_.push_back(std::move(route));
}
void SimHost::add_nat(NatView nat) {
  const std::lock_guard lock(mutex_);
  const std::string table = nat.table;
  nat.owner = owner_by_label(nat.comment, instance_);
  nats_[table] = std::move(nat);
}
void SimHost::flush_nat() {
  {
    const std::lock_guard lock(mutex_);
    nats_.clear();
  }
  hint({""});
}
void SimHost::lose_sidecar(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].sidecar.reset();
}
void SimHost::lose_directory(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  Vm& vm = vms_[vm_uid];
  unlink_block_files(vm, vm_uid);
  vm.directory = false;
  vm.sidecar.reset();
  vm.disks.clear();
  vm.initrd_hash.reset();
}
void SimHost::link_directory(const std::string& vm_uid) {
  lose_directory(vm_uid);
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].directory_link = true;
}
void SimHost::fail_look(const std::string& vm_uid, std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  unlooked_.erase(vm_uid);
  if (error) unlooked_.emplace(vm_uid, *std::move(error));
}
void SimHost::spoil_sidecar(const std::string& vm_uid, std::string error) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].sidecar_error = std::move(error);
}
void SimHost::lose_record(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  records_.erase(uid);
}
void SimHost::spoil_record(const std::string& uid, std::string error) {
  const std::lock_guard lock(mutex_);
  records_[uid].error = std::move(error);
}
void SimHost::lose_disk(const std::string& vm_uid, const std::string& disk) {
  const std::lock_guard lock(mutex_);
  Vm& vm = vms_[vm_uid];
  vm.disks.erase(disk);
  if (disk == "root") unlink_block_files(vm, vm_uid);
}
void SimHost::add_stray(const std::string& vm_uid, ProcessView process) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].strays.push_back(std::move(process));
}
void SimHost::add_stranger(const std::string& vm_uid, ProcessView process) {
  const std::lock_guard lock(mutex_);
  Vm& vm = vms_[vm_uid];
  vm.cgroup = true;
  process.in_cgroup = true;
  vm.strays.push_back(std::move(process));
}
void SimHost::remove_strays(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].strays.clear();
}
void SimHost::restart_daemon() {
  const std::lock_guard lock(mutex_);
  jobs_.clear();
  forget_noted();
  on_hint_ = nullptr;
}
void SimHost::reboot_host() {
  const std::lock_guard lock(mutex_);
  ++boots_;
  jobs_.clear();
  nats_.clear();
  nodes_.clear();
  loops_.clear();
  std::erase_if(links_, [](const auto& entry) { return !entry.second.owner.empty(); });
  forget_noted();
  forwarding_ = false;
  for (auto& [uid, vm] : vms_) {
    vm.run_directory = vm.cgroup = vm.killed = false;
    vm.shim.reset();
    vm.vmm.reset();
    vm.launch.reset();
    vm.exit.reset();
    vm.strays.clear();
  }
}

void SimHost::set_guest_reachable(const std::string& vm_uid, bool reachable) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].reachable = reachable;
}
void SimHost::set_sync_answer(const std::string& vm_uid, SyncAnswer answer) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].sync = answer;
}
void SimHost::set_monitor(const std::string& vm_uid, MonitorState state) {
  const std::lock_guard lock(mutex_);
  vms_[vm_uid].monitor = state;
}
void SimHost::set_space(SpaceLevel level) {
  std::vector<std::string> hints;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(space_, level) == level) return;
    for (const auto& [uid, vm] : vms_) hints.push_back(uid);
  }
  hint(hints);
}
void SimHost::replace_vmm(const std::string& vm_uid) {
  const std::lock_guard lock(mutex_);
  if (auto& vmm = vms_[vm_uid].vmm) vmm->pid = next_pid_++;
}
void SimHost::exit_vmm(const std::string& vm_uid, ExitView exit) {
  std::vector<std::string> hints;
  {
    const std::lock_guard lock(mutex_);
    if (populated(vm_uid)) end_vmm(vm_uid, vms_[vm_uid], std::move(exit));
    hints.swap(hints_);
  }
  hint(hints);
}
void SimHost::hold_kills(bool held) {
  const std::lock_guard lock(mutex_);
  hold_kills_ = held;
}
void SimHost::reap() {
  std::vector<std::string> hints;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [uid, vm] : vms_) {
      if (vm.killed && vm.vmm && !waits_for_node(uid)) end_vmm(uid, vm, {.reason = "Killed", .signal = 9, .message = ""});
    }
    hints.swap(hints_);
  }
  hint(hints);
}

void SimHost::hold_jobs(const std::string& name) {
  const std::lock_guard lock(mutex_);
  held_jobs_.insert(name);
}
void SimHost::release_jobs(const std::string& name) {
  std::vector<std::string> hints;
  {
    const std::lock_guard lock(mutex_);
    held_jobs_.erase(name);
    for (auto& [key, job] : jobs_) {
      if (key.name == name && job.state == JobState::Running) finish(job);
    }
    hints.swap(hints_);
  }
  hint(hints);
}
void SimHost::fail_jobs(const std::string& name, std::optional<Error> error) {
  const std::lock_guard lock(mutex_);
  failing_jobs_.erase(name);
  if (error) failing_jobs_.emplace(name, *std::move(error));
}

void SimHost::fail_next(std::string_view step, const Error& error, FaultPoint point, std::size_t count) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < count; ++i) faults_[std::string(step)].push_back({error, point});
}
void SimHost::clear_faults() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
  crash_after_.reset();
}
void SimHost::crash_after(std::optional<std::size_t> changes) {
  const std::lock_guard lock(mutex_);
  crash_after_ = changes;
}

std::size_t SimHost::mutations() const {
  const std::lock_guard lock(mutex_);
  return mutations_;
}
std::vector<std::string> SimHost::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}
void SimHost::clear_log() {
  const std::lock_guard lock(mutex_);
  log_.clear();
}
std::vector<LinkView> SimHost::links() const {
  const std::lock_guard lock(mutex_);
  std::vector<LinkView> all;
  all.reserve(links_.size());
  for (const auto& [name, link] : links_) all.push_back(link);
  return all;
}
std::size_t SimHost::vmm_count(const std::string& vm_uid) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm_uid);
  return found != vms_.end() && found->second.vmm ? 1 : 0;
}
bool SimHost::disk_exists(const std::string& vm_uid, const std::string& disk) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm_uid);
  return found != vms_.end() && found->second.disks.contains(disk);
}
std::optional<LaunchVmm> SimHost::launched(const std::string& vm_uid) const {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(vm_uid);
  return found == vms_.end() ? std::nullopt : found->second.launch;
}

std::vector<std::string> SimHost::leftovers() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> found;
  for (const auto& [uid, vm] : vms_) {
    if (vm.directory || vm.directory_link) found.push_back(fmt::format("directory of {}", uid));
    if (vm.run_directory) found.push_back(fmt::format("run directory of {}", uid));
    if (vm.cgroup) found.push_back(fmt::format("cgroup of {}", uid));
    if (vm.vmm || vm.shim) found.push_back(fmt::format("process of {}", uid));
    for (const auto& [name, disk] : vm.disks) found.push_back(fmt::format("disk {} of {}", name, uid));
    for (const auto& job : jobs_of(uid)) found.push_back(fmt::format("job {} of {}", job.key.name, uid));
  }
  for (const auto& [name, link] : links_) {
    if (link.kind == "tun" && !link.owner.empty()) found.push_back("tap " + name);
  }
  for (const auto& [name, node] : nodes_) {
    if (uid_of_dm_uuid(node.view.uuid)) found.push_back("device " + name);
  }
  for (const auto& [device, loop] : loops_) {
    if (loop.view.label.starts_with("banger:") || (loop.view.autoclear && loop.view.read_only))
      found.push_back(fmt::format("loop {} over {}", device, loop.view.backing));
  }
  return found;
}

}  // namespace banger::actuators::sim
