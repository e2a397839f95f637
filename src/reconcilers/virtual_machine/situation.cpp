// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/situation.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "api/update_class.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/record.hpp"

namespace banger::reconcilers::virtual_machine {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr milliseconds kLongestPause = minutes(5);

}  // namespace

bool is_alive(const actuators::VmmView& view) { return view.vmm || (view.cgroup_populated && !is_foreign_group(view)); }

Situation look_at(const api::Object& object, const Context& context, const actuators::VmView& host) {
  const auto& vm = std::get<api::VirtualMachine>(object.body);
  Situation at{.object = object,
               .vm = vm,
               .spec = vm.spec,
               .observed = context,
               .host = host,
               .sidecar = host.sidecar ? &*host.sidecar : nullptr,
               .vmm = host.vmm.vmm ? &*host.vmm.vmm : nullptr,
               .strays = {},
               .strangers = {},
               .alive = is_alive(host.vmm),
               .uid = object.meta.uid};
  const bool foreign = is_foreign_group(host.vmm);
  for (const auto& process : host.vmm.processes) {
    if (process.names_socket && !process.in_cgroup) at.strays.push_back(&process);
    if (foreign && process.in_cgroup && !process.unreadable) at.strangers.push_back(&process);
  }
  return at;
}

const actuators::JobView* find_job(const Situation& at, std::string_view name) {
  const auto found = std::ranges::find_if(at.host.jobs, [&](const auto& job) { return job.key.name == name; });
  return found == at.host.jobs.end() ? nullptr : &*found;
}

const actuators::LinkView* own_tap(const Situation& at, std::string_view name) {
  const auto found =
      std::ranges::find_if(at.host.links, [&](const auto& link) { return link.name == name && link.owner == at.uid; });
  return found == at.host.links.end() ? nullptr : &*found;
}

const actuators::DiskView* find_disk(const Situation& at, std::string_view name) {
  const auto found = std::ranges::find_if(at.host.disks, [&](const auto& disk) { return disk.name == name; });
  return found == at.host.disks.end() ? nullptr : &*found;
}

const actuators::LinkView* foreign_tap(const Situation& at) {
  const auto found = std::ranges::find_if(at.host.links, [&](const auto& link) { return link.owner != at.uid; });
  return found == at.host.links.end() ? nullptr : &*found;
}

std::string foreign_group(const Situation& at) {
  if (at.strangers.empty()) return {};
  return fmt::format("the cgroup {} has {} that {} not ours: {}; {} left alone", actuators::cgroup_name(at.uid),
                     at.strangers.size() == 1 ? "a process" : "processes", at.strangers.size() == 1 ? "is" : "are",
                     list_of(at.strangers), at.strangers.size() == 1 ? "it is" : "they are");
}

std::optional<actuators::SshTarget> ssh_target(const Situation& at) {
  if (at.sidecar == nullptr || !at.sidecar->launched_spec.ssh || at.sidecar->nics.empty()) return std::nullopt;
  const auto& address = at.sidecar->nics.front().address;
  const auto& ssh = *at.sidecar->launched_spec.ssh;
  return actuators::SshTarget{
      .address = address.substr(0, address.find('/')), .port = ssh.port, .user = ssh.user, .vm_uid = at.uid};
}

bool was_ready(const Situation& at) {
  const auto& status = at.vm.status;
  const auto* ready = api::find_condition(status.conditions, "Ready");
  return ready != nullptr && ready->status == api::ConditionStatus::True && at.vmm != nullptr && status.vmm &&
         status.vmm->pid == at.vmm->pid && status.vmm->start_time_ticks == at.vmm->start_time_ticks;
}

std::string list_of(const std::vector<const actuators::ProcessView*>& processes) {
  std::vector<std::string> parts;
  parts.reserve(processes.size());
  for (const auto* process : processes) parts.push_back(fmt::format("{} (pid {})", printable(process->exe), process->pid));
  return join(parts, ", ");
}

void say_ready(Plan& plan, api::ConditionStatus status, std::string reason, std::string message) {
  std::erase_if(plan.findings, [](const Finding& finding) { return finding.type == "Ready"; });
  plan.findings.push_back({.type = "Ready", .status = status, .reason = std::move(reason), .message = std::move(message)});
}

void say_running(Plan& plan, api::ConditionStatus status, std::string reason, std::string message) {
  plan.findings.push_back({.type = "Running", .status = status, .reason = std::move(reason), .message = std::move(message)});
}

PlannedStep step(std::string name, actuators::Step what) {
  return {.name = std::move(name), .step = std::move(what), .undo = {}};
}

PlannedStep forget_job(const Situation& at, const std::string& name) {
  return step("Forget/" + name, actuators::ForgetJob{{.owner_uid = at.uid, .name = name}});
}

PlannedStep vm_directory(const Situation& at, const std::vector<actuators::NicRecord>& nics) {
  std::vector<std::string> addresses;
  addresses.reserve(nics.size());
  for (const auto& nic : nics) addresses.push_back(nic.address.substr(0, nic.address.find('/')));
  const auto port = at.spec.ssh ? at.spec.ssh->port : 22;
  return step("Directory", actuators::MakeVmDirectory{.vm_uid = at.uid, .addresses = std::move(addresses), .port = port});
}

actuators::Sidecar ended_as(actuators::Sidecar sidecar, std::string_view reason, WallTime now) {
  sidecar.ended = reason;
  sidecar.restart_after.reset();
  if (reason == kEndedOnPurpose) sidecar.failures = 0;
  if (reason == kEndedOnPurpose) return sidecar;
  // A guest that cannot boot may end each time by what looks like a reboot: a triple fault does.
  const bool ran_shortly = sidecar.launched && now - *sidecar.launched < kShortRun;
  if (reason == "GuestReboot" && !ran_shortly) return sidecar;
  const bool ran_long = sidecar.launched && now - *sidecar.launched >= minutes(10);
  sidecar.failures = ran_long ? 1 : sidecar.failures + 1;
  if (sidecar.failures > 1) {
    const auto doublings = std::min<std::uint64_t>(sidecar.failures - 2, 9);
    const auto pause = std::min<milliseconds>(seconds(1) * (1U << doublings), kLongestPause);
    sidecar.restart_after = std::chrono::ceil<seconds>(now + pause);  // what vm.json can keep
  }
  return sidecar;
}

milliseconds backoff_left(const actuators::Sidecar& sidecar, WallTime now) {
  if (!sidecar.restart_after || *sidecar.restart_after <= now) return milliseconds(0);
  const milliseconds left = *sidecar.restart_after - now;
  return left <= kLongestPause + seconds(1) ? left : milliseconds(0);
}

namespace {

template <class Changes>
std::string sentence_of(const Changes& changes) {
  std::vector<std::string> parts;
  for (const auto& change : changes) {
    const std::string_view field = change.field;
    parts.push_back(fmt::format("{} {} → {}", field.starts_with("spec.") ? field.substr(5) : field,
                                change.from.empty() ? "none" : change.from, change.to.empty() ? "none" : change.to));
  }
  return join(parts, ", ");
}

// A delete takes the VM's directory, disks and all.
std::string disks_to_lose(const Situation& at) {
  std::vector<std::string> data;
  for (const auto& disk : at.host.disks) {
    if (disk.name != "root") data.push_back(fmt::format("\"{}\"", disk.name));
  }
  if (data.empty()) return "the root disk";
  return fmt::format("the root disk and the data {} {} with it", data.size() == 1 ? "disk" : "disks", join(data, ", "));
}

class Changes {
 public:
  explicit Changes(std::string of) : of_(std::move(of)) {}
  void look(std::string_view field, const std::string& from, const std::string& to) {
    if (from != to)
      all.push_back(
          {.field = fmt::format("{}.{}", of_, field), .update_class = api::UpdateClass::Restart, .from = from, .to = to});
  }
  std::vector<api::FieldChange> all;

 private:
  std::string of_;
};

// What the running guest was given of its Kernel and its Networks and would be given otherwise now. One that is not ready says
// nothing, nor does a record that does not know.
std::vector<api::FieldChange> changes_around(const Situation& at) {
  if (!at.alive) return {};
  std::vector<api::FieldChange> all;
  const auto& old = at.sidecar->kernel;
  const auto& kernel = at.observed.kernel;
  if (old && kernel.state.ready && at.sidecar->launched_spec.kernel == at.spec.kernel) {
    Changes changes("Kernel/" + at.spec.kernel);
    changes.look("path", printable(old->path), printable(kernel.path));
    changes.look("initrd", printable(old->initrd), printable(kernel.initrd));
    changes.look("args", printable(join(old->args, " ")), printable(join(kernel.args, " ")));
    all = std::move(changes.all);
  }
  for (const auto& nic : at.sidecar->nics) {
    const auto& network = network_named(at.observed, nic.network);
    if (nic.mtu == 0 || !network.state.ready) continue;
    Changes changes("Network/" + nic.network);
    changes.look("mtu", std::to_string(nic.mtu), std::to_string(network.mtu));
    // Guests are told those of their first network.
    if (&nic == &at.sidecar->nics.front())
      changes.look("nameservers", join(nic.nameservers, " "), join(network.nameservers, " "));
    for (auto& change : changes.all) {
      if (std::ranges::find(all, change.field, &api::FieldChange::field) == all.end()) all.push_back(std::move(change));
    }
  }
  return all;
}

std::string command_name(const api::ObjectMeta& meta) {
  return meta.ns == api::kDefaultNamespace ? meta.name : meta.name + " -n " + meta.ns;
}

// What the guest runs was only on the record that was lost. What waited then is told on; what changed since cannot be told apart.
void say_launch_unknown(Plan& plan, const Situation& at) {
  plan.pending = at.vm.status.pending_changes;
  const auto waited = plan.pending.empty() ? "" : fmt::format(" ({} waited then)", sentence_of(plan.pending));
  plan.findings.push_back({.type = "RestartRequired",
                           .status = api::ConditionStatus::Unknown,
                           .reason = "RecordLost",
                           .message = fmt::format("vm.json was lost while the VM ran, and with it what the VM was started as{}; "
                                                  "bangerctl restart {} makes it what its spec says",
                                                  waited, command_name(at.object.meta))});
}

}  // namespace

void plan_pending_changes(Plan& plan, const Situation& at) {
  if (at.alive && !launch_is_known(at)) return say_launch_unknown(plan, at);
  if (at.sidecar == nullptr) return;
  auto restart = changes_around(at);
  std::vector<api::FieldChange> recreate;
  if (restart.empty() && at.sidecar->launched_spec == at.spec) return;
  for (auto& change : api::changed_fields(at.sidecar->launched_spec, at.spec)) {
    const bool recreates =
        change.update_class == api::UpdateClass::Recreate || change.update_class == api::UpdateClass::Immutable;
    if (recreates && find_disk(at, "root") != nullptr)
      recreate.push_back(std::move(change));
    else if (change.update_class == api::UpdateClass::Restart && at.alive && change.field != "spec.restartNonce")
      restart.push_back(std::move(change));
  }
  for (const auto* changes : {&restart, &recreate}) {
    for (const auto& change : *changes) {
      plan.pending.push_back({.field = change.field,
                              .update_class = std::string(api::to_string(change.update_class)),
                              .from = change.from,
                              .to = change.to});
    }
  }
  if (!restart.empty()) {
    plan.findings.push_back({.type = "RestartRequired",
                             .status = api::ConditionStatus::True,
                             .reason = "PendingChanges",
                             .message = fmt::format("{} {} for a restart: bangerctl restart {}", sentence_of(restart),
                                                    restart.size() == 1 ? "waits" : "wait", command_name(at.object.meta))});
  }
  if (!recreate.empty()) {
    plan.findings.push_back(
        {.type = "RecreateRequired",
         .status = api::ConditionStatus::True,
         .reason = "PendingChanges",
         .message =
             fmt::format("{} {} another root disk: delete the VM and apply it again. That removes {}; save what is to stay "
                         "first",
                         sentence_of(recreate), recreate.size() == 1 ? "needs" : "need", disks_to_lose(at))});
  }
}

}  // namespace banger::reconcilers::virtual_machine
