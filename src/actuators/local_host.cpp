// SPDX-License-Identifier: Apache-2.0
#include "actuators/local_host.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <variant>

#include "actuators/block/disks.hpp"
#include "actuators/block/root_disk.hpp"
#include "actuators/block/root_disk_view.hpp"
#include "actuators/block/snapshot_watcher.hpp"
#include "actuators/guest/ssh.hpp"
#include "actuators/image/build.hpp"
#include "actuators/image/initrd.hpp"
#include "actuators/image/kernels.hpp"
#include "actuators/image/vm_initrd.hpp"
#include "actuators/job_pool.hpp"
#include "actuators/local_inventory.hpp"
#include "actuators/net/net_actuator.hpp"
#include "actuators/record_files.hpp"
#include "actuators/space.hpp"
#include "actuators/vm_file_looks.hpp"
#include "actuators/vm_files.hpp"
#include "actuators/vm_views.hpp"
#include "actuators/vmm/launch.hpp"
#include "actuators/vmm/machines.hpp"
#include "base/failpoint.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace banger::actuators {
namespace {

constexpr std::size_t kMaxNics = 8;

// Whoever wants hints says so after the threads that give them have started.
class HintLine {
 public:
  void set(std::function<void(const std::string&)> callback) {
    const std::lock_guard lock(mutex_);
    callback_ = std::move(callback);
  }
  void operator()(const std::string& uid) const {
    std::function<void(const std::string&)> callback;
    {
      const std::lock_guard lock(mutex_);
      callback = callback_;
    }
    if (callback) callback(uid);
  }

 private:
  mutable std::mutex mutex_;
  std::function<void(const std::string&)> callback_;
};

JobRunners runners_for(const LocalHostOptions& options) {
  const auto& layout = options.layout;
  JobRunners out;
  out.build_image = [layout](const BuildImage& job, const std::stop_token& stop) { return image::run(job, layout, stop); };
  out.build_initrd = [layout, path = options.init_path](const BuildInitrd& job,
                                                        const std::stop_token& stop) -> Result<std::string> {
    if (!path.empty()) return image::run(job, layout, path, stop);
    BGR_TRY(const auto found, image::find_init());
    return image::run(job, layout, found, stop);
  };
  out.make_root_disk = [layout](const MakeRootDisk& job, const std::stop_token& stop) { return block::run(job, layout, stop); };
  out.make_data_disk = [layout](const MakeDataDisk& job, const std::stop_token& stop) { return block::run(job, layout, stop); };
  out.sync_guest = [layout](const SyncGuest& job, const std::stop_token& stop) { return guest::run(job, layout, stop); };
  out.probe_ssh = [layout](const ProbeSsh& job, const std::stop_token& stop) { return guest::run(job, layout, stop); };
  return out;
}

std::string read_boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", kib(4));
  if (!text) return {};
  while (text->ends_with('\n')) text->pop_back();
  return *std::move(text);
}

Error busy(std::string message) { return {ErrorCode::Busy, std::move(message)}; }

// What all networks share, read once.
struct NetFacts {
  std::vector<LinkView> links;
  std::vector<NatView> nats;
  std::vector<RouteView> routes;
  bool forwarding = false;
  std::vector<std::string> nameservers;
};

NetworkView network_view(const NetworkQuery& query, const NetFacts& facts, const Layout& layout) {
  NetworkView out;
  out.uid = query.uid;
  out.directory_exists = ::access(network_dir(layout, query.uid).c_str(), F_OK) == 0;
  if (out.directory_exists) out.record = read_record(api::Kind::Network, query.uid, layout);
  for (const auto& link : facts.links) {
    if (link.owner.empty()) out.foreign_links.push_back(link.name);
    if (link.owner == query.uid || link.name == query.bridge) out.links.push_back(link);
  }
  const auto nat = std::ranges::find(facts.nats, nat_table_name(query.uid), &NatView::table);
  if (nat != facts.nats.end()) out.nat = *nat;
  out.routes = facts.routes;
  out.forwarding = facts.forwarding;
  out.host_nameservers = facts.nameservers;
  return out;
}

class LocalHost final : public Host {
 public:
  LocalHost(const LocalHostOptions& options, std::string instance, vmm::MachinesOptions machines, Clock& clock, Random& random)
      : layout_(options.layout),
        instance_(std::move(instance)),
        random_(random),
        boot_id_(read_boot_id()),
        files_(layout_),
        views_(boot_id_),
        net_(net::NetActuator::open(instance_)),
        machines_(std::move(machines), vmm::find_hierarchy(), [this](const std::string& uid) { hint_(uid); }),
        jobs_(runners_for(options), clock),
        space_(layout_.state_dir, [this](SpaceLevel) { hint_all(); }) {
    jobs_.on_finished([this](const JobKey& key) { hint_(key.owner_uid); });
  }

  Result<VmView> observe_vm(const std::string& uid, std::size_t nic_count) override;
  Result<NetworkView> observe_network(const NetworkQuery& query) override;
  Result<ImageView> observe_image(const ImageQuery& query) override;
  Result<KernelView> observe_kernel(const KernelQuery& query) override;
  Result<HostView> observe_all(const std::vector<NetworkQuery>& networks) override;
  Result<std::vector<StoredRecord>> records() override { return stored_records(layout_); }
  Result<std::vector<HostObject>> inventory() override;
  Result<Applied> apply(const Step& step) override;
  void on_hint(std::function<void(const std::string& uid)> callback) override;

 private:
  Result<NetFacts> net_facts(const std::vector<NetworkQuery>& networks) const;
  Result<net::NetActuator*> net() const;
  Result<Applied> remove(const std::filesystem::path& directory, const std::string& owner);
  // A disk that is full pauses guests and says so to nobody; one that has room again lets them go on.
  void hint_all() const {
    for (const auto& uid : vm_directories(layout_)) hint_(uid);
  }

  Result<Applied> run(const MakeVmDirectory& step) { return guest::apply(step, layout_, random_); }
  Result<Applied> run(const WriteSidecar& step) { return write_sidecar(step.sidecar, layout_); }
  Result<Applied> run(const WriteVmInitrd& step);
  Result<Applied> run(const SyncDisks& step) { return block::apply(step, layout_); }
  Result<Applied> run(const ActivateRootDisk& step) { return block::apply(step, layout_); }
  Result<Applied> run(const GrowRootCow& step) { return block::apply(step, layout_); }
  Result<Applied> run(const DeactivateRootDisk& step);
  Result<Applied> run(const RemoveVmDirectory& step);
  Result<Applied> run(const WriteRecord& step) { return write_record(step.record, layout_); }
  Result<Applied> run(const RemoveNetworkDirectory& step) { return remove_directory(network_dir(layout_, step.network_uid)); }
  Result<Applied> run(const RemoveImageDirectory& step) { return remove(image_dir(layout_, step.image_uid), step.image_uid); }
  Result<Applied> run(const RemoveKernelDirectory& step) { return remove(kernel_dir(layout_, step.kernel_uid), step.kernel_uid); }
  template <class NetStep>
    requires requires(net::NetActuator& actuator, const NetStep& step) { actuator.apply(step); }
  Result<Applied> run(const NetStep& step) {
    BGR_TRY(auto* actuator, net());
    return actuator->apply(step);
  }
  template <class VmmStep>
    requires requires(vmm::Machines& machines, const VmmStep& step) { machines.apply(step); }
  Result<Applied> run(const VmmStep& step) {
    return machines_.apply(step);
  }
  Result<Applied> run(const StartJob& step);
  Result<Applied> run(const ForgetJob& step) { return jobs_.forget(step.key) ? Applied::Changed : Applied::Unchanged; }

  Layout layout_;
  std::string instance_;
  Random& random_;
  std::string boot_id_;
  VmFileLooks files_;
  std::mutex looking_;
  VmViews views_;
  HintLine hint_;
  Result<std::unique_ptr<net::NetActuator>> net_;
  vmm::Machines machines_;
  JobPool jobs_;
  std::optional<block::SnapshotWatcher> snapshots_;  // from the first one who wants hints
  SpaceWatcher space_;                               // goes first: it hints
};

Result<net::NetActuator*> LocalHost::net() const {
  if (!net_) return fail(net_.error());
  return net_->get();
}

Result<VmView> LocalHost::observe_vm(const std::string& uid, std::size_t nic_count) {
  if (!is_uid(uid)) return fail(invalid(fmt::format("\"{}\" is not a uid", printable(uid))));
  if (nic_count > kMaxNics) return fail(invalid(fmt::format("{} network interfaces: expected at most {}", nic_count, kMaxNics)));
  BGR_TRY(auto* actuator, net());
  BGR_TRY(const auto files, files_.look(uid));
  auto view = view_of(uid, *files, boot_id_);
  view.run_directory_exists = ::access(vm_run_dir(layout_, uid).c_str(), F_OK) == 0;
  BGR_TRY(auto root, block::observe_root_disk(layout_, uid));
  view.snapshot = std::move(root.snapshot);
  view.loops = std::move(root.loops);
  view.root_unseen = std::move(root.unseen);
  // By name: every tap that a VM of ours can have, also one beyond the interfaces it has now.
  for (std::size_t i = 0; i < kMaxNics; ++i) {
    BGR_TRY(auto link, actuator->link(tap_name(uid, i)));
    if (link) view.links.push_back(*std::move(link));
  }
  view.vmm = machines_.observe(uid, vmm::Monitor::Ask);
  view.space = look_at_space(layout_.state_dir);
  view.jobs = jobs_.observe(uid);
  return view;
}

Result<NetFacts> LocalHost::net_facts(const std::vector<NetworkQuery>& networks) const {
  BGR_TRY(auto* actuator, net());
  NetFacts out;
  BGR_TRY(out.links, actuator->links(networks));
  BGR_TRY(out.nats, actuator->nat_tables());
  BGR_TRY(out.routes, actuator->routes());
  BGR_TRY(out.forwarding, actuator->forwarding());
  out.nameservers = actuator->host_nameservers();
  return out;
}

Result<NetworkView> LocalHost::observe_network(const NetworkQuery& query) {
  if (!is_uid(query.uid)) return fail(invalid(fmt::format("\"{}\" is not a uid", printable(query.uid))));
  BGR_TRY(const auto facts, net_facts({query}));
  return network_view(query, facts, layout_);
}

Result<ImageView> LocalHost::observe_image(const ImageQuery& query) {
  if (!is_uid(query.uid)) return fail(invalid(fmt::format("\"{}\" is not a uid", printable(query.uid))));
  auto view = image::observe_image_files(layout_, query);
  view.record = read_record(api::Kind::Image, query.uid, layout_);
  view.jobs = jobs_.observe(query.uid);
  return view;
}

Result<KernelView> LocalHost::observe_kernel(const KernelQuery& query) {
  if (!is_uid(query.uid)) return fail(invalid(fmt::format("\"{}\" is not a uid", printable(query.uid))));
  auto view = image::observe_kernel_files(layout_, query);
  view.record = read_record(api::Kind::Kernel, query.uid, layout_);
  view.jobs = jobs_.observe(query.uid);
  return view;
}

// What is left is sorted by owner, and owners are asked for in that order.
std::vector<Shared<JobView>> next_jobs(std::span<const Shared<JobView>>& left, const std::string& uid) {
  const auto begin = std::ranges::find_if(left, [&](const auto& job) { return job->key.owner_uid >= uid; });
  const auto end = std::find_if(begin, left.end(), [&](const auto& job) { return job->key.owner_uid != uid; });
  std::vector<Shared<JobView>> out(begin, end);
  left = {end, left.end()};
  return out;
}

Result<HostView> LocalHost::observe_all(const std::vector<NetworkQuery>& networks) {
  const std::lock_guard lock(looking_);
  const auto directories = vm_directories(layout_);
  const auto groups = machines_.cgroup_uids();
  std::set<std::string> uids;
  std::ranges::set_union(directories, groups, std::inserter(uids, uids.end()));
  // The kernel's dump of links beside the reading of /proc; files by whoever is through first.
  LooksTogether files(files_, uids);
  auto beside = std::async(std::launch::async, [&] {
    auto facts = net_facts(networks);
    files.take_part();
    return facts;
  });
  auto machines = machines_.observe_all(uids);
  files.take_part();
  BGR_TRY(const auto facts, beside.get());
  if (!machines) return fail(machines.error());
  BGR_TRY(const auto roots, block::observe_root_disks(layout_, uids, files.with_root_files()));
  // A node may be all that is left of a VM.
  std::set<std::string> late;
  for (const auto& [uid, root] : roots) {
    if (uids.insert(uid).second) late.insert(uid);
  }
  if (!late.empty()) {
    BGR_TRY(auto more, machines_.observe_all(late));
    machines->merge(more);
  }
  auto links = links_by_vm(facts.links, uids);
  const auto jobs = jobs_.observe_all();
  std::span<const Shared<JobView>> jobs_left(jobs);
  HostView out;
  for (auto& [uid, machine] : *machines) {
    const auto root = roots.find(uid);
    // A group that nothing here knows is another daemon's.
    if (!machine.run_directory_exists && root == roots.end() &&
        std::ranges::none_of(machine.vmm->processes, &ProcessView::names_socket) && !directories.contains(uid)) {
      continue;
    }
    auto look = files.of(uid);
    if (!look) continue;  // a pass of its own says why
    VmParts parts{.files = *std::move(look),
                  .machine = std::move(machine),
                  .root = root == roots.end() ? nullptr : &root->second,
                  .links = std::move(links.at(uid)),
                  .jobs = next_jobs(jobs_left, uid)};
    out.vms.emplace_hint(out.vms.end(), uid, views_.view_of(uid, std::move(parts)));
  }
  views_.keep_only(out.vms);
  files_.keep_only(uids);
  for (const auto& query : networks) out.networks.emplace(query.uid, network_view(query, facts, layout_));
  return out;
}

Result<std::vector<HostObject>> LocalHost::inventory() {
  BGR_TRY(auto* actuator, net());
  BGR_TRY(const auto facts, read_inventory(layout_, instance_, *actuator, machines_));
  return inventory_of(facts);
}

Result<Applied> LocalHost::apply(const Step& step) {
  if (auto stop = failpoint(fmt::format("step.{}.before", name_of(step)))) return fail(*std::move(stop));
  auto applied = std::visit([this](const auto& each) { return run(each); }, step);
  if (auto stop = failpoint(fmt::format("step.{}.after", name_of(step)))) return fail(*std::move(stop));
  return applied;
}

Result<Applied> LocalHost::run(const WriteVmInitrd& step) {
  // The daemon's key is among those that the guest admits, from the first guest on.
  BGR_CHECK(guest::ensure_client_key(layout_, random_));
  return image::apply(step, layout_);
}

Result<Applied> LocalHost::run(const DeactivateRootDisk& step) {
  // A VMM that has not opened it yet holds nothing back.
  if (machines_.populated(step.vm_uid)) return fail(busy(fmt::format("cgroup {} still has processes", cgroup_name(step.vm_uid))));
  return block::apply(step);
}

Result<Applied> LocalHost::run(const RemoveVmDirectory& step) {
  BGR_CHECK(machines_.check_gone(step.vm_uid));
  BGR_CHECK(block::check_inactive(step.vm_uid, layout_));
  return remove(vm_dir(layout_, step.vm_uid), step.vm_uid);
}

Result<Applied> LocalHost::remove(const std::filesystem::path& directory, const std::string& owner) {
  if (jobs_.writes_for(owner)) return fail(busy(fmt::format("a job still writes in {}", directory.native())));
  return remove_directory(directory);
}

Result<Applied> LocalHost::run(const StartJob& step) {
  BGR_TRY(const bool started, jobs_.start(step.key, step.spec));
  return started ? Applied::Changed : Applied::Unchanged;
}

void LocalHost::on_hint(std::function<void(const std::string& uid)> callback) {
  hint_.set(std::move(callback));
  if (!snapshots_) snapshots_.emplace(layout_, [this](const std::string& uid) { hint_(uid); });
  if (!net_) return;
  const auto watching = (*net_)->watch([this](const std::string& uid) { hint_(uid); });
  if (!watching)
    log::debug("links are not watched and only a resync finds what changed, ignoring", {{"error", watching.error().message}});
}

}  // namespace

Result<std::unique_ptr<Host>> make_local_host(const LocalHostOptions& options, Clock& clock, Random& random) {
  for (const auto& path : {options.layout.state_dir, options.layout.run_dir}) {
    if (!path.is_absolute())
      return fail(invalid(fmt::format("directory \"{}\": expected an absolute path", printable(path.native()))));
  }
  BGR_TRY(auto accelerator, vmm::choose_accelerator(options.accelerator, vmm::look_at_kvm()));
  if (const auto qemu = vmm::find_qemu(options.qemu_path); !qemu) {
    log::warning("no VM can be started yet; it is looked for again at each start", {{"error", qemu.error().message}});
  }
  std::error_code unreadable;
  const auto canonical = std::filesystem::weakly_canonical(options.layout.state_dir, unreadable);
  auto instance = instance_id(unreadable ? options.layout.state_dir : canonical);
  vmm::MachinesOptions machines{options.layout, vmm::find_shim(options.shim_path), options.qemu_path, std::move(accelerator)};
  return std::make_unique<LocalHost>(options, std::move(instance), std::move(machines), clock, random);
}

}  // namespace banger::actuators
