// SPDX-License-Identifier: Apache-2.0
// The port's own methods: observation, and the frame around each step. The steps are in sim_steps.cpp, the jobs in sim_jobs.cpp.
#include "actuators/sim/sim_host.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/record.hpp"

namespace banger::actuators::sim {

Result<VmView> SimHost::observe_vm(const std::string& uid, std::size_t nic_count) {
  std::vector<std::string> hints;
  VmView view;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = unlooked_.find(uid); found != unlooked_.end()) return fail(found->second);
    view = view_of(uid, nic_count, true);
    reap_taps([&](const LinkView& tap) { return tap.owner == uid; });
    hints.swap(hints_);
  }
  hint(hints);
  return view;
}

Result<NetworkView> SimHost::observe_network(const NetworkQuery& query) {
  const std::lock_guard lock(mutex_);
  return network_view(query);
}

Result<ImageView> SimHost::observe_image(const ImageQuery& query) {
  const std::lock_guard lock(mutex_);
  ImageView view{.uid = query.uid, .source = facts_of(query.source_path)};
  view.built = files_below(image_dir(layout_, query.uid).string() + "/base-");
  view.directory_exists = directories_.contains(query.uid);
  view.record = record_at(query.uid);
  view.jobs = jobs_of(query.uid);
  return view;
}

Result<KernelView> SimHost::observe_kernel(const KernelQuery& query) {
  const std::lock_guard lock(mutex_);
  KernelView view{.uid = query.uid};
  view.host_kernels.assign(kernels_.rbegin(), kernels_.rend());
  if (!query.path.empty()) {
    view.kernel = facts_of(query.path);
  } else if (!view.host_kernels.empty()) {
    view.kernel = facts_of(view.host_kernels.front().path);
  }
  view.boots = view.kernel.exists && view.kernel.size >= kib(1);  // what is in a file is not modelled
  if (!query.initrd.empty()) view.initrd = facts_of(query.initrd);
  view.built = files_below(kernel_dir(layout_, query.uid).string() + "/initrd-");
  view.directory_exists = directories_.contains(query.uid);
  view.record = record_at(query.uid);
  view.jobs = jobs_of(query.uid);
  return view;
}

Result<HostView> SimHost::observe_all(const std::vector<NetworkQuery>& networks) {
  const std::lock_guard lock(mutex_);
  HostView host;
  std::set<std::string> uids;
  for (const auto& [uid, vm] : vms_) uids.insert(uid);
  for (const auto& [name, link] : links_) {
    if (!link.owner.empty() && link.kind == "tun") uids.insert(link.owner);
  }
  for (const auto& [name, node] : nodes_) {
    if (const auto uid = uid_of_dm_uuid(node.view.uuid)) uids.insert(*uid);
  }
  for (const auto& uid : uids) {
    if (!unlooked_.contains(uid)) host.vms.emplace(uid, view_of(uid, 0, false));
  }
  for (const auto& query : networks) host.networks.emplace(query.uid, network_view(query));
  return host;
}

RecordView SimHost::record_at(const std::string& uid) const {
  const auto found = records_.find(uid);
  if (found == records_.end()) return {};
  return found->second.error.empty() ? found->second : RecordView{.object = std::nullopt, .error = found->second.error};
}

Result<std::vector<StoredRecord>> SimHost::records() {
  const std::lock_guard lock(mutex_);
  std::vector<StoredRecord> all;
  for (const auto& [uid, record] : records_) {
    const auto kind = record.object ? api::kind_of(*record.object) : api::Kind::Network;
    all.push_back({.kind = kind, .uid = uid, .path = uid + "/object.json", .object = record.object, .error = record.error});
    if (!record.error.empty()) all.back().object.reset();
  }
  for (const auto& [uid, vm] : vms_) {
    if (!vm.directory) continue;
    StoredRecord record{.kind = api::Kind::VirtualMachine, .uid = uid, .path = sidecar_path(layout_, uid).native()};
    if (vm.sidecar && vm.sidecar_error.empty()) {
      record.sidecar = vm.sidecar;
      record.object = object_of(*vm.sidecar);
    } else {
      record.error = vm.sidecar_error.empty() ? "there is no " + record.path : vm.sidecar_error;
    }
    all.push_back(std::move(record));
  }
  std::ranges::stable_sort(all, {}, [](const auto& record) { return std::pair(record.kind, record.uid); });
  return all;
}

Result<Applied> SimHost::apply(const Step& step) {
  const std::string name(name_of(step));
  std::vector<std::string> hints;
  Result<Applied> result = Applied::Unchanged;
  bool crash = false;
  {
    const std::lock_guard lock(mutex_);
    if (auto error = take_fault(name, FaultPoint::BeforeEffect)) return fail(*std::move(error));
    result = effect(step);
    if (result && *result == Applied::Changed) {
      ++mutations_;
      if (!quick_) log_.push_back(describe(step));
      crash = crash_after_ && *crash_after_ == 0;
      if (crash_after_ && !crash) --*crash_after_;
    }
    if (result) {
      if (auto error = take_fault(name, FaultPoint::AfterEffect)) result = fail(*std::move(error));
    }
    hints.swap(hints_);
  }
  if (crash) {
    const std::lock_guard lock(mutex_);
    forget_noted();
  }
  if (crash) throw SimCrash{name};
  hint(hints);
  return result;
}

void SimHost::on_hint(std::function<void(const std::string& uid)> callback) {
  const std::lock_guard lock(mutex_);
  on_hint_ = std::move(callback);
}

void SimHost::hint(const std::vector<std::string>& uids) {
  std::function<void(const std::string&)> callback;
  {
    const std::lock_guard lock(mutex_);
    callback = on_hint_;
  }
  if (!callback) return;
  for (const auto& uid : uids) callback(uid);
}

std::optional<Error> SimHost::take_fault(const std::string& step, FaultPoint point) {
  const auto found = faults_.find(step);
  if (found == faults_.end() || found->second.empty() || found->second.front().point != point) return std::nullopt;
  Error error = found->second.front().error;
  found->second.pop_front();
  return error;
}

VmView SimHost::view_of(const std::string& uid, std::size_t nic_count, bool ask_monitor) const {
  VmView view{.uid = uid};
  view.boot_id = fmt::format("00000000-0000-4000-8000-{:012}", boots_);
  view.jobs = jobs_of(uid);
  for (const auto& [name, link] : links_) {
    const bool ours = link.kind == "tun" && link.owner == uid;
    bool by_name = false;
    for (std::size_t nic = 0; nic < nic_count; ++nic) by_name = by_name || name == tap_name(uid, nic);
    if (ours || by_name) view.links.push_back(link);
  }
  view.vmm.socket = monitor_socket_path(layout_, uid).string();
  if (const auto blind = blind_.find(uid); blind != blind_.end()) {
    view.root_unseen = blind->second;
  } else {
    view.snapshot = node_view(uid);
    view.loops = loops_of(uid);
  }
  const auto found = vms_.find(uid);
  if (found == vms_.end()) return view;
  const Vm& vm = found->second;
  view.directory_exists = vm.directory;
  view.directory_is_link = vm.directory_link;
  if (vm.sidecar_error.empty()) view.sidecar = vm.sidecar;
  view.sidecar_error = vm.sidecar_error;
  if (!view.sidecar) view.pinned_addresses = vm.pinned;
  for (const auto& [name, disk] : vm.disks) view.disks.push_back(disk);
  view.initrd_config_hash = vm.initrd_hash;
  view.run_directory_exists = vm.run_directory;
  view.vmm.cgroup_exists = vm.cgroup;
  view.vmm.cgroup_populated = populated(uid);
  if (vm.shim) view.vmm.processes.push_back(*vm.shim);
  if (vm.vmm) view.vmm.processes.push_back(*vm.vmm);
  view.vmm.processes.insert(view.vmm.processes.end(), vm.strays.begin(), vm.strays.end());
  view.vmm.vmm = vm.vmm;
  view.vmm.exit = vm.exit;
  if (!vm.vmm) return view;
  view.vmm.driver = "sim";
  view.vmm.version = "1.0";
  view.vmm.accelerator = "tcg";
  view.vmm.accelerator_reason = "a simulated host has no virtualisation";
  if (ask_monitor) view.vmm.monitor = vm.monitor;
  if (ask_monitor) view.space = space_;
  return view;
}

NetworkView SimHost::network_view(const NetworkQuery& query) const {
  NetworkView view{.uid = query.uid, .routes = routes_, .forwarding = forwarding_, .host_nameservers = {"192.0.2.53"}};
  for (const auto& [name, link] : links_) {
    if (name == query.bridge || link.owner == query.uid) view.links.push_back(link);
    if (link.owner.empty()) view.foreign_links.push_back(name);
    // The kernel has a connected route for each address of a link that is up.
    for (const auto& address : link.addresses) {
      if (const auto cidr = parse_cidr(address)) view.routes.push_back({.destination = network_of(*cidr), .link = name});
    }
  }
  view.directory_exists = directories_.contains(query.uid);
  view.record = record_at(query.uid);
  const auto nat = nats_.find(nat_table_name(query.uid));
  if (nat != nats_.end()) view.nat = nat->second;
  return view;
}

std::vector<JobView> SimHost::jobs_of(const std::string& owner_uid) const {
  std::vector<JobView> jobs;
  for (auto it = jobs_.lower_bound(JobKey{.owner_uid = owner_uid, .name = ""}); it != jobs_.end(); ++it) {
    if (it->first.owner_uid != owner_uid) break;
    jobs.push_back(it->second);
  }
  return jobs;
}

FileFacts SimHost::facts_of(const std::string& path) const {
  const auto found = files_.find(path);
  return found == files_.end() ? FileFacts{.path = path} : found->second;
}

std::vector<FileFacts> SimHost::files_below(const std::string& prefix) const {
  std::vector<FileFacts> found;
  for (auto it = files_.lower_bound(prefix); it != files_.end() && it->first.starts_with(prefix); ++it)
    found.push_back(it->second);
  return found;
}

bool SimHost::populated(const std::string& vm_uid) const {
  const auto found = vms_.find(vm_uid);
  if (found == vms_.end()) return false;
  return found->second.vmm || found->second.shim || std::ranges::any_of(found->second.strays, &ProcessView::in_cgroup);
}

}  // namespace banger::actuators::sim
