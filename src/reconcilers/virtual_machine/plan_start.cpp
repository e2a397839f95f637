// SPDX-License-Identifier: Apache-2.0
// The start pipeline. Each pass does what can be done now; what needs a job's end or a number that the kernel gives waits for the
// next pass.
#include <fmt/format.h>

#include <algorithm>

#include "actuators/boot_config.hpp"
#include "reconcilers/virtual_machine/leases.hpp"
#include "reconcilers/virtual_machine/record.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"
#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::JobState;
using api::ConditionStatus;

void pend(Plan& plan, std::string reason, std::string message) {
  plan.phase = "Pending";
  say_ready(plan, ConditionStatus::False, std::move(reason), std::move(message));
  plan.look_again = kSlowly;  // changes of what it waits for wake it earlier
}

bool is_ready(Plan& plan, const Readiness& state, std::string_view kind, std::string_view name) {
  if (state.ready) return true;
  if (!state.found) {
    pend(plan, fmt::format("{}NotFound", kind), fmt::format("the {} \"{}\" does not exist", kind, name));
  } else {
    pend(plan, fmt::format("{}NotReady", kind),
         fmt::format("the {} \"{}\" is not ready{}{}", kind, name, state.message.empty() ? "" : ": ", state.message));
  }
  return false;
}

bool references_ready(Plan& plan, const Situation& at) {
  // A root disk that was made is the VM's own; the image may go.
  const bool needs_image = find_disk(at, "root") == nullptr;
  if (needs_image && !is_ready(plan, at.observed.image.state, "Image", at.spec.image)) return false;
  if (!is_ready(plan, at.observed.kernel.state, "Kernel", at.spec.kernel)) return false;
  return std::ranges::all_of(at.spec.network_interfaces, [&](const auto& nic) {
    return is_ready(plan, network_named(at.observed, nic.network).state, "Network", nic.network);
  });
}

bool names_free(Plan& plan, const Situation& at) {
  const auto* link = foreign_tap(at);
  auto message = foreign_group(at);
  if (message.empty())
    message =
        link != nullptr ? fmt::format("the link {} exists and is not ours; it is left as it is", link->name) : foreign_device(at);
  if (message.empty()) return true;
  plan.findings.push_back(
      {.type = "NameConflict", .status = ConditionStatus::True, .reason = "ForeignObject", .message = message});
  plan.events.push_back({.type = api::EventType::Warning, .reason = "NameConflict", .message = message});
  pend(plan, "NameConflict", std::move(message));
  return false;
}

// Disks that a guest may have written to.
std::vector<std::string> disks_that_ran(const Situation& at) {
  const bool ran = at.sidecar != nullptr ? at.sidecar->launches > 0 : status_says_it_ran(at.vm.status);
  if (!ran) return {};
  std::vector<std::string> names{"root"};
  if (at.sidecar != nullptr) {
    names.insert(names.end(), at.sidecar->disk_names.begin(), at.sidecar->disk_names.end());
  } else {
    for (const auto& disk : at.vm.status.disks) names.push_back(disk.name);
  }
  return names;
}

// A tap of the launch before, or of an attempt that was undone, may still be on its way out.
bool taps_stay(Plan& plan, const Situation& at) {
  const auto leaving = [&](const auto& link) { return link.leaving && own_tap(at, link.name) != nullptr; };
  const auto found = std::ranges::find_if(at.host.links, leaving);
  if (found == at.host.links.end()) return true;
  say_ready(plan, ConditionStatus::False, "Starting", fmt::format("waits until its old tap {} is gone", found->name));
  plan.look_again = std::chrono::milliseconds(1000);  // its end wakes us earlier
  return false;
}

// A disk that has run is never silently made anew.
bool data_is_there(Plan& plan, const Situation& at) {
  const auto names = disks_that_ran(at);
  const auto gone = std::ranges::find_if(names, [&](const auto& name) { return find_disk(at, name) == nullptr; });
  if (gone == names.end()) return true;
  const auto& lost = *gone;
  auto message = fmt::format("the disk \"{}\" has run and is gone; it is not made anew. Put it back, or delete the VM", lost);
  plan.findings.push_back({.type = "DataLost", .status = ConditionStatus::True, .reason = "DiskMissing", .message = message});
  plan.events.push_back({.type = api::EventType::Warning, .reason = "DataLost", .message = message});
  pend(plan, "DataLost", std::move(message));
  plan.phase = "Failed";
  return false;
}

// Addresses are claimed before anything is made with them.
std::optional<std::vector<actuators::NicRecord>> interfaces(Plan& plan, const Situation& at) {
  auto leases = plan_leases(at.object, at.observed, at.sidecar);
  if (leases.problem) {
    plan.findings.push_back(*leases.problem);
    plan.events.push_back(
        {.type = api::EventType::Warning, .reason = leases.problem->reason, .message = leases.problem->message});
    pend(plan, leases.problem->reason, leases.problem->message);
    return std::nullopt;
  }
  if (leases.claims.empty() && leases.releases.empty()) return std::move(leases.nics);
  plan.claims = std::move(leases.claims);
  plan.releases = std::move(leases.releases);
  say_ready(plan, ConditionStatus::False, "Starting", "addresses are being leased");
  plan.look_again = kAtOnce;
  return std::nullopt;
}

// What vm.json is to say before disks and taps are made.
actuators::Sidecar intended(const Situation& at, const std::vector<actuators::NicRecord>& nics) {
  auto next = at.sidecar != nullptr ? *at.sidecar : rebuilt_record(at);
  next.uid = at.uid;
  next.ns = at.object.meta.ns;
  next.name = at.object.meta.name;
  next.nics = nics;
  const auto image = next.launched_spec.image;
  const auto backend = next.launched_spec.root_disk.backend;
  if (next.launches == 0) {
    next.generation = at.object.meta.generation;
    next.launched_spec = at.spec;
  }
  const auto* root_job = find_job(at, "root-disk");
  if (find_disk(at, "root") != nullptr || root_job != nullptr) {
    if (at.sidecar != nullptr) next.launched_spec.image = image;
    if (at.sidecar != nullptr) next.launched_spec.root_disk.backend = backend;
  } else {
    next.image_digest = at.observed.image.digest;
  }
  if (root_job != nullptr && root_job->state == JobState::Done) {
    const auto colon = root_job->result.find(": ");
    next.root_backend = root_job->result.substr(0, colon);
    next.root_backend_reason = colon == std::string::npos ? "" : root_job->result.substr(colon + 2);
  }
  record_root_disk(next, at);
  next.process.reset();
  for (const auto& disk : at.spec.disks) {
    const bool known = std::ranges::find(next.disk_names, disk.name) != next.disk_names.end();
    if (!known && find_disk(at, disk.name) != nullptr) next.disk_names.push_back(disk.name);
  }
  return next;
}

bool same_addresses(const std::vector<actuators::NicRecord>& a, const std::vector<actuators::NicRecord>& b) {
  return std::ranges::equal(a, b, {}, &actuators::NicRecord::address, &actuators::NicRecord::address);
}

void plan_intent(Plan& plan, const Situation& at, const actuators::Sidecar& next) {
  const auto port = at.spec.ssh ? at.spec.ssh->port : 22;
  const bool same_pin = at.sidecar != nullptr && same_addresses(at.sidecar->nics, next.nics) &&
                        (at.sidecar->launched_spec.ssh ? at.sidecar->launched_spec.ssh->port : 22) == port;
  if (!at.host.directory_exists || !same_pin) plan.steps.push_back(vm_directory(at, next.nics));
  if (at.sidecar == nullptr || *at.sidecar != next) plan.steps.push_back(step("Sidecar", actuators::WriteSidecar{next}));
}

// True when the disk is as wanted; else the plan starts, awaits or restarts the job that makes it so.
bool plan_disk(Plan& plan, const Situation& at, const std::string& name, const std::string& job_name, std::string_view label,
               const actuators::JobSpec& spec, Bytes size, Bytes has) {
  const auto* disk = find_disk(at, name);
  const auto* job = find_job(at, job_name);
  const bool runs = job != nullptr && job->state == JobState::Running;
  if (disk != nullptr && has >= size && !runs) {  // what an older job did or failed to do does not matter any more
    if (job != nullptr && job->state == JobState::Done)
      plan.progress.push_back({.name = std::string(label), .state = "Done", .duration = job->duration, .message = ""});
    return true;
  }
  const actuators::StartJob start{.key = {.owner_uid = at.uid, .name = job_name}, .spec = spec};
  if (job == nullptr || (!runs && job->spec != spec)) {
    plan.steps.push_back(step(std::string(label), start));
    return false;
  }
  if (runs) {
    plan.progress.push_back({.name = std::string(label), .state = "Running", .duration = job->duration, .message = ""});
    return false;
  }
  if (job->state == JobState::Failed) {
    const auto error = job->error.value_or(internal("the job failed and does not say why"));
    plan.progress.push_back({.name = std::string(label), .state = "Failed", .duration = job->duration, .message = error.message});
    plan.steps.push_back(forget_job(at, job_name));
    plan.error = with_context(error, fmt::format("making the disk \"{}\"", name));
    plan.events.push_back({.type = api::EventType::Warning, .reason = "FailedDisk", .message = plan.error->message});
    return false;
  }
  plan.progress.push_back({.name = std::string(label), .state = "Done", .duration = job->duration, .message = ""});
  if (disk != nullptr) return true;
  plan.steps.push_back(forget_job(at, job_name));  // it went since: ask again
  return false;
}

Bytes file_size(const Situation& at, std::string_view name) {
  const auto* disk = find_disk(at, name);
  return disk != nullptr ? disk->size : Bytes{};
}

// A root.cow says nothing of the disk's size: the record does, or the device.
Bytes root_has(const Situation& at) {
  if (!is_snapshot(at)) return file_size(at, "root");
  const auto recorded = at.sidecar != nullptr ? at.sidecar->root_size : Bytes{};
  const auto* node = own_node(at);
  return node != nullptr && node->live ? std::max(recorded, node->size) : recorded;
}

bool plan_disks(Plan& plan, const Situation& at) {
  const actuators::MakeRootDisk root{.vm_uid = at.uid,
                                     .base_path = at.observed.image.path,
                                     .size = at.spec.root_disk.size.value_or(Bytes{}),
                                     .cow_size = at.spec.root_disk.cow.size.value_or(Bytes{}),
                                     .backend = at.spec.root_disk.backend,
                                     .present = find_disk(at, "root") != nullptr};
  bool done = plan_disk(plan, at, "root", "root-disk", "RootDisk", root, root.size, root_has(at));
  for (const auto& disk : at.spec.disks) {
    const actuators::MakeDataDisk data{
        .vm_uid = at.uid, .disk = disk.name, .size = disk.size, .present = find_disk(at, disk.name) != nullptr};
    done = plan_disk(plan, at, disk.name, "disk-" + disk.name, "Disk/" + disk.name, data, disk.size, file_size(at, disk.name)) &&
           done;
  }
  return done;
}

actuators::GuestConfig guest_config(const Situation& at, const std::vector<actuators::NicRecord>& nics) {
  actuators::GuestConfig config{.hostname = at.object.meta.name};
  for (const auto& nic : nics) {
    // One default route: through the first interface.
    config.nics.push_back({.mac = nic.mac, .address = nic.address, .gateway = config.nics.empty() ? nic.gateway : ""});
  }
  if (!nics.empty()) config.nameservers = at.observed.networks.at(nics.front().network).nameservers;
  if (at.spec.root_disk.size) config.mounts.push_back({.disk = "root", .path = ""});
  for (const auto& disk : at.spec.disks) config.mounts.push_back({.disk = disk.name, .path = disk.mount_path});
  if (at.spec.ssh) {
    config.ssh_user = at.spec.ssh->user;
    config.authorized_keys = at.spec.ssh->authorized_keys;
  }
  config.files = at.spec.files;
  return config;
}

std::vector<actuators::Step> tap_removals(const Situation& at, const std::vector<actuators::NicRecord>& nics) {
  std::vector<actuators::Step> removals;
  removals.reserve(nics.size());
  for (const auto& nic : nics) removals.emplace_back(actuators::RemoveLink{at.uid, nic.tap});
  return removals;
}

void plan_initrd_and_taps(Plan& plan, const Situation& at, const std::vector<actuators::NicRecord>& nics) {
  const auto config = guest_config(at, nics);
  const auto& base = at.observed.kernel.initrd;
  if (at.host.initrd_config_hash != actuators::boot_config_hash(config, base)) {
    plan.steps.push_back(step("Initrd", actuators::WriteVmInitrd{.vm_uid = at.uid, .base_initrd = base, .config = config}));
  }
  for (const auto& link : at.host.links) {
    const bool wanted = std::ranges::any_of(nics, [&](const auto& nic) { return nic.tap == link.name; });
    if (!wanted && own_tap(at, link.name) != nullptr)
      plan.steps.push_back(step("OldTap", actuators::RemoveLink{at.uid, link.name}));
  }
  for (std::size_t i = 0; i < nics.size(); ++i) {
    const auto& network = network_named(at.observed, nics[i].network);
    const auto* tap = own_tap(at, nics[i].tap);
    if (tap != nullptr && tap->up && tap->master == network.bridge && tap->mtu == network.mtu) continue;
    plan.steps.push_back({.name = fmt::format("Tap/{}", i),
                          .step = actuators::MakeTap{.vm_uid = at.uid,
                                                     .name = nics[i].tap,
                                                     .bridge = network.bridge,
                                                     .mtu = network.mtu,
                                                     .of = api::key_of(at.object)},
                          .undo = {actuators::RemoveLink{at.uid, nics[i].tap}}});
  }
}

actuators::Sidecar launch_record(const Situation& at, actuators::Sidecar next) {
  // The root disk stays what it was made from; such a change waits until the VM is made anew.
  const auto image = next.launched_spec.image;
  const auto backend = next.launched_spec.root_disk.backend;
  next.launched_spec = at.spec;
  next.launched_spec.image = image;
  next.launched_spec.root_disk.backend = backend;
  next.generation = at.object.meta.generation;
  for (auto& nic : next.nics) {
    const auto* tap = own_tap(at, nic.tap);
    nic.tap_index = tap != nullptr ? tap->index : 0;
    const auto& network = network_named(at.observed, nic.network);
    nic.mtu = network.mtu;
    nic.nameservers = network.nameservers;
  }
  const auto& kernel = at.observed.kernel;
  next.kernel = actuators::KernelRecord{.path = kernel.path, .initrd = kernel.initrd, .args = kernel.args};
  next.boot_id = at.host.boot_id;
  if (!next.ended.empty() && next.ended != kEndedOnPurpose) ++next.restarts;
  ++next.launches;
  next.launched = at.observed.now;
  next.ended.clear();
  next.restart_after.reset();
  next.sync_nonce.clear();
  return next;
}

actuators::LaunchVmm launch_of(const Situation& at, const std::vector<actuators::NicRecord>& nics) {
  actuators::LaunchVmm launch{.vm_uid = at.uid,
                              .vm_ns = at.object.meta.ns,
                              .vm_name = at.object.meta.name,
                              .cpus = at.spec.cpus,
                              .memory = at.spec.memory,
                              .kernel_path = at.observed.kernel.path,
                              .initrd_path = actuators::vm_initrd_path(at.observed.layout, at.uid).string(),
                              .kernel_args = at.observed.kernel.args,
                              .disks = {{.name = "root", .path = find_disk(at, "root")->path}},
                              .nics = {}};
  if (is_snapshot(at))
    launch.disks.front() = {.name = "root",
                            .path = actuators::dm_device_path(at.uid).string(),
                            .lock_path = actuators::root_cow_path(at.observed.layout, at.uid).string()};
  launch.kernel_args.insert(launch.kernel_args.end(), at.spec.kernel_args.begin(), at.spec.kernel_args.end());
  for (const auto& disk : at.spec.disks) launch.disks.push_back({.name = disk.name, .path = find_disk(at, disk.name)->path});
  for (const auto& nic : nics)
    launch.nics.push_back({.tap = nic.tap, .mac = nic.mac, .mtu = network_named(at.observed, nic.network).mtu});
  return launch;
}

void plan_launch(Plan& plan, const Situation& at, const actuators::Sidecar& next) {
  for (const auto* job : {"probe", "sync"}) {
    if (find_job(at, job) != nullptr) plan.steps.push_back(forget_job(at, job));
  }
  if (at.host.run_directory_exists)
    plan.steps.push_back(step("ClearRun", actuators::ClearRunDirectory{at.uid}));  // of the launch before
  plan.steps.push_back(step("Record", actuators::WriteSidecar{launch_record(at, next)}));
  // First the record, so that a launch that is undone does not look like one that ended by itself.
  std::vector<actuators::Step> undo{actuators::WriteSidecar{next}, actuators::KillVmm{at.uid},
                                    actuators::ClearRunDirectory{at.uid}, actuators::RemoveCgroup{at.uid}};
  for (auto& removal : tap_removals(at, next.nics)) undo.push_back(std::move(removal));
  if (is_snapshot(at)) undo.emplace_back(actuators::DeactivateRootDisk{at.uid});
  plan.steps.push_back({.name = "Launch", .step = launch_of(at, next.nics), .undo = std::move(undo)});
  plan.events.push_back({.type = api::EventType::Normal, .reason = "Started", .message = "started the VMM"});
}

}  // namespace

Plan plan_start(const Situation& at) {
  Plan plan{.operation = Operation::Start, .phase = "Starting"};
  say_running(plan, ConditionStatus::False, "Starting", "no VMM runs yet");
  plan_pending_changes(plan, at);
  if (!names_free(plan, at) || !data_is_there(plan, at) || !references_ready(plan, at)) return plan;
  const auto nics = interfaces(plan, at);
  if (!nics) return plan;

  const auto next = intended(at, *nics);
  plan_intent(plan, at, next);
  say_ready(plan, ConditionStatus::False, "Starting", "disks are being made");
  if (!plan_disks(plan, at)) {
    const bool waits = plan.steps.empty();
    plan.look_again = waits ? std::chrono::milliseconds(1000) : kAtOnce;
    return plan;
  }
  if (!plan_device(plan, at)) return plan;
  say_ready(plan, ConditionStatus::False, "Starting", "the VMM is being started");
  if (!taps_stay(plan, at)) return plan;
  plan_initrd_and_taps(plan, at, *nics);
  // Launching needs the index that the kernel gives a tap.
  if (plan.steps.empty()) plan_launch(plan, at, next);
  plan.look_again = kAtOnce;
  return plan;
}

}  // namespace banger::reconcilers::virtual_machine
