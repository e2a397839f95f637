// SPDX-License-Identifier: Apache-2.0
// What each step does to the model, by the contracts in step.hpp.
#include <fmt/format.h>

#include <algorithm>

#include "actuators/boot_config.hpp"
#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {
namespace {

Error step_busy(std::string message) { return {.code = ErrorCode::Busy, .message = std::move(message), .sys_errno = 0}; }
Error step_conflict(std::string message) { return {.code = ErrorCode::Conflict, .message = std::move(message), .sys_errno = 0}; }

void keep_whole_seconds(Sidecar& sidecar) {
  for (auto* time : {&sidecar.launched, &sidecar.restart_after, &sidecar.meta.creation_time, &sidecar.meta.deletion_time}) {
    if (*time) *time = std::chrono::floor<std::chrono::seconds>(**time);
  }
}

Applied changed(bool is) { return is ? Applied::Changed : Applied::Unchanged; }

}  // namespace

Result<Applied> SimHost::effect(const Step& step) {
  return std::visit([this](const auto& each) { return run(each); }, step);
}

Result<Applied> SimHost::run(const MakeVmDirectory& step) {
  Vm& vm = vms_[step.vm_uid];
  if (vm.directory_link) return fail(invalid(vm_dir(layout_, step.vm_uid).string() + " is not a directory"));
  if (!step.addresses.empty()) vm.pinned = step.addresses;
  return changed(!std::exchange(vm.directory, true));
}

Result<Applied> SimHost::run(const WriteSidecar& step) {
  Vm& vm = vms_[step.sidecar.uid];
  if (!vm.directory) return fail(not_found("writing vm.json: the VM's directory does not exist"));
  Sidecar kept = step.sidecar;
  if (quick_) {
    keep_whole_seconds(kept);
  } else {  // what a file keeps of it, no more
    BGR_TRY(kept, decode_sidecar(encode_sidecar(step.sidecar)));
  }
  if (vm.sidecar == kept && vm.sidecar_error.empty()) return Applied::Unchanged;
  vm.sidecar = std::move(kept);
  vm.sidecar_error.clear();
  return Applied::Changed;
}

Result<Applied> SimHost::run(const WriteVmInitrd& step) {
  Vm& vm = vms_[step.vm_uid];
  if (!vm.directory) return fail(not_found("writing the initrd: the VM's directory does not exist"));
  if (!files_.contains(step.base_initrd)) return fail(not_found("reading the initrd " + step.base_initrd + ": no such file"));
  const std::string hash = boot_config_hash(step.config, step.base_initrd);
  if (vm.initrd_hash == hash) return Applied::Unchanged;
  vm.initrd_hash = hash;
  return Applied::Changed;
}

Result<Applied> SimHost::run(const SyncDisks& step) {
  if (populated(step.vm_uid)) return fail(step_busy("syncing the disks: the VMM is alive"));
  return Applied::Unchanged;
}

Result<Applied> SimHost::run(const RemoveVmDirectory& step) {
  const auto found = vms_.find(step.vm_uid);
  if (found == vms_.end() || (!found->second.directory && !found->second.directory_link)) return Applied::Unchanged;
  if (populated(step.vm_uid)) return fail(step_busy("removing the VM's directory: its cgroup is populated"));
  if (own_node(step.vm_uid) != nullptr)
    return fail(internal("removing a VM's directory under its root disk's device: no plan may say this"));
  Vm& vm = found->second;
  unlink_block_files(vm, step.vm_uid);
  vm.directory = vm.directory_link = false;
  vm.sidecar.reset();
  vm.sidecar_error.clear();
  vm.disks.clear();
  vm.initrd_hash.reset();
  return Applied::Changed;
}

Result<Applied> SimHost::run(const WriteRecord& step) {
  const auto& uid = step.record.meta.uid;
  directories_.insert(uid);
  const RecordView wanted{.object = step.record, .error = ""};
  if (record_at(uid) == wanted) return Applied::Unchanged;
  records_[uid] = wanted;
  return Applied::Changed;
}

Result<Applied> SimHost::run(const RemoveNetworkDirectory& step) {
  records_.erase(step.network_uid);
  return changed(directories_.erase(step.network_uid) > 0);
}

Result<Applied> SimHost::run(const RemoveImageDirectory& step) {
  records_.erase(step.image_uid);
  for (const auto& file : files_below(image_dir(layout_, step.image_uid).string() + "/")) {
    files_.erase(file.path);
    inodes_.erase(file.path);
  }
  return changed(directories_.erase(step.image_uid) > 0);
}

Result<Applied> SimHost::run(const RemoveKernelDirectory& step) {
  records_.erase(step.kernel_uid);
  for (const auto& file : files_below(kernel_dir(layout_, step.kernel_uid).string() + "/")) files_.erase(file.path);
  return changed(directories_.erase(step.kernel_uid) > 0);
}

// The link of this name if it bears the owner's label, null if there is none, Conflict if it is someone else's.
Result<LinkView*> SimHost::own_link(const std::string& name, const std::string& owner_uid) {
  const auto found = links_.find(name);
  if (found == links_.end()) return nullptr;
  if (found->second.owner != owner_uid)
    return fail(step_conflict(fmt::format("NameConflict: the link {} is not ours (alias \"{}\")", name, found->second.alias)));
  return &found->second;
}

std::string SimHost::label_of(const std::string& uid, const std::optional<api::ObjectKey>& of) const {
  return label_text({.uid = uid, .instance = instance_, .of = of});
}

Result<Applied> SimHost::run(const MakeBridge& step) {
  BGR_TRY(LinkView * link, own_link(step.name, step.network_uid));
  LinkView wanted{.name = step.name,
                  .index = link ? link->index : next_index_,
                  .kind = "bridge",
                  .alias = link ? link->alias : label_of(step.network_uid, step.of),
                  .owner = step.network_uid,
                  .master = "",
                  .up = true,
                  .mtu = step.mtu,
                  .addresses = {step.address}};
  if (link && *link == wanted) return Applied::Unchanged;
  if (!link) ++next_index_;
  links_[step.name] = std::move(wanted);
  return Applied::Changed;
}

Result<Applied> SimHost::run(const MakeTap& step) {
  BGR_TRY(LinkView * link, own_link(step.name, step.vm_uid));
  if (link && link->leaving) return fail(step_busy(fmt::format("tap {} is being removed", step.name)));
  const auto bridge = links_.find(step.bridge);
  if (bridge == links_.end() || bridge->second.kind != "bridge")
    return fail(not_found(fmt::format("creating tap {}: there is no bridge {}", step.name, step.bridge)));
  LinkView wanted{.name = step.name,
                  .index = link ? link->index : next_index_,
                  .kind = "tun",
                  .alias = link ? link->alias : label_of(step.vm_uid, step.of),
                  .owner = step.vm_uid,
                  .master = step.bridge,
                  .up = true,
                  .mtu = step.mtu,
                  .addresses = {}};
  if (link && *link == wanted) return Applied::Unchanged;
  if (!link) ++next_index_;
  links_[step.name] = std::move(wanted);
  hints_.push_back(step.vm_uid);  // as the kernel tells of every link, those that we make included
  return Applied::Changed;
}

Result<Applied> SimHost::run(const RemoveLink& step) {
  BGR_TRY(LinkView * link, own_link(step.name, step.owner_uid));
  if (!link) return Applied::Unchanged;
  if (link->kind != "tun") {
    reap_taps([&](const LinkView& tap) { return tap.master == step.name; });  // it waits for them
    drop_link(step.name);
    return Applied::Changed;
  }
  if (populated(step.owner_uid)) return fail(internal("removing tap " + step.name + " under a living VMM: no plan may say this"));
  if (const auto failed = unreaped_.extract(step.name)) return fail(failed.mapped());
  if (std::exchange(link->leaving, true)) return Applied::Unchanged;
  return Applied::Changed;
}

// What was noted becomes true, for once it was looked at; or it fails, and the next step says so.
void SimHost::reap_taps(const std::function<bool(const LinkView&)>& which) {
  if (hold_links_) return;
  std::vector<std::string> names;
  for (const auto& [name, link] : links_) {
    if (link.leaving && which(link)) names.push_back(name);
  }
  for (const auto& name : names) {
    if (auto error = take_fault("ReapTap", FaultPoint::BeforeEffect)) {
      links_.at(name).leaving = false;
      unreaped_.insert_or_assign(name, *std::move(error));
      continue;
    }
    drop_link(name);
  }
}

void SimHost::drop_link(const std::string& name) {
  for (auto& [other_name, other] : links_) {
    if (other.master == name) other.master.clear();
  }
  hints_.push_back(links_.at(name).owner);
  links_.erase(name);
  unreaped_.erase(name);
}

// The list goes with the daemon that kept it.
void SimHost::forget_noted() {
  for (auto& [name, link] : links_) link.leaving = false;
  unreaped_.clear();
}

Result<Applied> SimHost::run(const WriteNat& step) {
  const auto found = nats_.find(step.table);
  if (found != nats_.end() && found->second.owner != step.network_uid)
    return fail(step_conflict(fmt::format("NameConflict: the nft table {} is not ours", step.table)));
  const bool written = found != nats_.end() && found->second.bridge == step.bridge && found->second.cidr == step.cidr;
  if (written && forwarding_) return Applied::Unchanged;
  forwarding_ = true;
  nats_[step.table] = {.table = step.table,
                       .comment = label_of(step.network_uid, step.of),
                       .owner = step.network_uid,
                       .bridge = step.bridge,
                       .cidr = step.cidr};
  return Applied::Changed;
}

Result<Applied> SimHost::run(const RemoveNat& step) {
  const auto found = nats_.find(step.table);
  if (found == nats_.end()) return Applied::Unchanged;
  if (found->second.owner != step.network_uid)
    return fail(step_conflict(fmt::format("NameConflict: the nft table {} is not ours", step.table)));
  nats_.erase(found);
  return Applied::Changed;
}

Result<Applied> SimHost::run(const LaunchVmm& step) {
  Vm& vm = vms_[step.vm_uid];
  if (populated(step.vm_uid)) return fail(step_busy("starting the VMM: the VM's cgroup is populated"));
  if (!files_.contains(step.kernel_path)) return fail(not_found("starting the VMM: no kernel " + step.kernel_path));
  if (!vm.initrd_hash) return fail(not_found("starting the VMM: no initrd " + step.initrd_path));
  for (const auto& disk : step.disks) {
    if (disk.path == dm_device_path(step.vm_uid)) {
      const auto* node = own_node(step.vm_uid);
      if (node == nullptr || !node->view.live) return fail(not_found("starting the VMM: no device " + disk.path));
      if (disk.lock_path != root_cow_path(layout_, step.vm_uid))
        return fail(internal("starting a VMM on a COW that it does not lock: no plan may say this"));
      continue;
    }
    if (disk.path == root_cow_path(layout_, step.vm_uid))
      return fail(internal("starting a VMM on a bare COW file: no plan may say this"));
    const bool known = std::ranges::any_of(vm.disks, [&](const auto& entry) { return entry.second.path == disk.path; });
    if (!known) return fail(not_found("starting the VMM: no disk " + disk.path));
  }
  for (const auto& nic : step.nics) {
    if (!links_.contains(nic.tap)) return fail(not_found("starting the VMM: no tap " + nic.tap));
  }
  vm.cgroup = true;
  vm.run_directory = true;
  vm.exit.reset();
  vm.killed = false;
  vm.shim = ProcessView{.pid = next_pid_++,
                        .start_time_ticks = 1,
                        .exe = "/usr/libexec/banger-shim",
                        .is_shim = true,
                        .names_socket = true,
                        .in_cgroup = true};
  vm.vmm =
      ProcessView{.pid = next_pid_++, .start_time_ticks = 2, .exe = "/usr/bin/sim-vmm", .names_socket = true, .in_cgroup = true};
  vm.monitor = MonitorState::Running;
  vm.launch = step;
  return Applied::Changed;
}

void SimHost::end_vmm(const std::string& uid, Vm& vm, ExitView exit) {
  if (!exit.finished) exit.finished = clock_.wall();
  vm.vmm.reset();
  vm.shim.reset();
  vm.launch.reset();
  if (vm.run_directory) vm.exit = std::move(exit);
  hints_.push_back(uid);
}

Result<Applied> SimHost::run(const ResumeVmm& step) {
  const auto found = vms_.find(step.vm_uid);
  if (found == vms_.end() || !found->second.vmm)
    return fail(Error{ErrorCode::Unavailable, "resuming the guest: the VMM's monitor does not answer"});
  auto& monitor = found->second.monitor;
  if (monitor != MonitorState::IoError) return Applied::Unchanged;
  if (space_ != SpaceLevel::Full) monitor = MonitorState::Running;
  return Applied::Changed;
}

Result<Applied> SimHost::run(const KillVmm& step) {
  const auto found = vms_.find(step.vm_uid);
  if (found == vms_.end() || !populated(step.vm_uid)) return Applied::Unchanged;
  if (is_foreign_group(view_of(step.vm_uid, 0, false).vmm))
    return fail(internal("ending processes that are not ours: no plan may say this"));
  if (std::exchange(found->second.killed, true)) return Applied::Unchanged;
  std::erase_if(found->second.strays, &ProcessView::in_cgroup);  // a group is killed whole
  if (!hold_kills_ && !waits_for_node(step.vm_uid))
    end_vmm(step.vm_uid, found->second, {.reason = "Killed", .signal = 9, .message = ""});
  return Applied::Changed;
}

Result<Applied> SimHost::run(const RemoveCgroup& step) {
  const auto found = vms_.find(step.vm_uid);
  if (found == vms_.end()) return Applied::Unchanged;
  if (populated(step.vm_uid)) return fail(step_busy("removing the cgroup: it is populated"));
  return changed(std::exchange(found->second.cgroup, false));
}

Result<Applied> SimHost::run(const ClearRunDirectory& step) {
  const auto found = vms_.find(step.vm_uid);
  if (found == vms_.end()) return Applied::Unchanged;
  if (populated(step.vm_uid)) return fail(step_busy("clearing the run directory: the cgroup is populated"));
  found->second.exit.reset();
  return changed(std::exchange(found->second.run_directory, false));
}

}  // namespace banger::actuators::sim
