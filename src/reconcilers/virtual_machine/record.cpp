// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/record.hpp"

#include <algorithm>

#include "actuators/names.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/lost_nics.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::Sidecar;
using actuators::WriteSidecar;

api::ObjectMeta wanted_meta(const api::Object& object) {
  auto meta = object.meta;
  meta.resource_version = 0;
  if (!meta.deletion_time && !has_finalizer(object)) meta.finalizers.emplace_back(kTeardownFinalizer);  // this plan adds it
  return meta;
}

bool says_the_object(const Situation& at) {
  const auto& kept = at.sidecar->meta;
  const auto& meta = at.object.meta;
  // Compared field by field: most passes find nothing to do, and a copy costs more than all else that they look at.
  return has_finalizer(at.object) && kept.resource_version == 0 && kept.name == meta.name && kept.ns == meta.ns &&
         kept.uid == meta.uid && kept.generation == meta.generation && kept.creation_time == meta.creation_time &&
         kept.deletion_time == meta.deletion_time && kept.labels == meta.labels && kept.annotations == meta.annotations &&
         kept.finalizers == meta.finalizers && kept.owner_references == meta.owner_references && at.sidecar->spec == at.spec;
}

std::vector<actuators::NicRecord> nics_of_status(const Situation& at) {
  if (at.vm.status.network_interfaces.empty()) return lost_nics(at);
  std::vector<actuators::NicRecord> nics;
  std::size_t index = 0;
  for (const auto& old : at.vm.status.network_interfaces) {
    const auto name = old.tap.empty() && index < 8 ? actuators::tap_name(at.uid, index) : old.tap;
    ++index;
    const auto* tap = own_tap(at, name);
    nics.push_back({.network = old.network,
                    .network_uid = network_named(at.observed, old.network).uid,
                    .tap = name,
                    .mac = old.mac,
                    .address = old.address,
                    .gateway = old.gateway,
                    .tap_index = tap != nullptr ? tap->index : 0});
  }
  return nics;
}

// A VM that ran and does not: on purpose, unless its status says how else it ended and that it stays so.
std::string end_of(const Situation& at) {
  const auto& status = at.vm.status;
  return status.phase == "Failed" && status.last_termination ? status.last_termination->reason : std::string(kEndedOnPurpose);
}

}  // namespace

bool status_says_it_ran(const api::VirtualMachineStatus& status) {
  const auto said = [&](std::string_view type) { return api::find_condition(status.conditions, type) != nullptr; };
  return status.launches > 0 || status.vmm || status.last_termination || status.restart_count > 0 || said("CleanShutdown") ||
         said("DataLost");
}

std::string record_loss(const Situation& at) {
  if (!at.host.directory_exists) return "the VM's directory is gone, its disks with it";
  return at.host.sidecar_error.empty() ? "vm.json is gone" : "vm.json: " + printable(at.host.sidecar_error);
}

// Without a record: the status tells of this very VMM, looked at this very spec, and saw nothing that waits.
bool launch_is_known(const Situation& at) {
  if (at.sidecar != nullptr) return at.sidecar->generation != 0;
  const auto& status = at.vm.status;
  return at.vmm != nullptr && status.vmm && status.vmm->pid == at.vmm->pid &&
         status.vmm->start_time_ticks == at.vmm->start_time_ticks && status.pending_changes.empty() &&
         status.observed_generation == at.object.meta.generation;
}

std::optional<actuators::ProcessRecord> process_of(const Situation& at) {
  if (at.vmm == nullptr) return std::nullopt;
  return actuators::ProcessRecord{
      .pid = at.vmm->pid, .start_time_ticks = at.vmm->start_time_ticks, .exe = at.vmm->exe, .socket = at.host.vmm.socket};
}

Sidecar rebuilt_record(const Situation& at) {
  Sidecar next{.uid = at.uid, .ns = at.object.meta.ns, .name = at.object.meta.name};
  next.generation = at.alive && !launch_is_known(at) ? 0 : at.object.meta.generation;
  next.launched_spec = at.spec;
  next.nics = nics_of_status(at);
  const bool ran = status_says_it_ran(at.vm.status);
  for (const auto& disk : at.spec.disks) {
    if (find_disk(at, disk.name) != nullptr) next.disk_names.push_back(disk.name);
  }
  for (const auto& disk : at.vm.status.disks) {  // also one that is gone, or that the spec does not name now
    const bool listed = disk.name == "root" || std::ranges::find(next.disk_names, disk.name) != next.disk_names.end();
    if (ran && !listed) next.disk_names.push_back(disk.name);
  }
  record_root_disk(next, at);
  next.process = process_of(at);
  next.restarts = static_cast<std::uint64_t>(std::max<std::int64_t>(at.vm.status.restart_count, 0));
  if (!at.alive && !ran) return next;
  next.launches = static_cast<std::uint64_t>(std::max<std::int64_t>(at.vm.status.launches, 1));
  next.boot_id = at.host.boot_id;
  if (at.alive) {
    next.launched = at.vm.status.vmm && at.vm.status.vmm->started ? at.vm.status.vmm->started : at.observed.now;
  } else {
    next.ended = end_of(at);
  }
  return next;
}

Sidecar cleared_record(const Situation& at) {
  auto next = *at.sidecar;
  if (at.alive) return next;
  next.process.reset();
  for (auto& nic : next.nics) {
    if (own_tap(at, nic.tap) != nullptr) continue;
    nic.tap.clear();
    nic.tap_index = 0;
  }
  if (own_node(at) != nullptr || own_cow_loop(at) != nullptr) return next;
  next.dm_name.clear();
  next.loop_files.clear();
  return next;
}

void keep_object_on_record(Plan& plan, const Situation& at) {
  const bool deleting = at.object.meta.deletion_time.has_value();
  bool written = false;
  const auto complete = [&](actuators::Step& each) {
    auto* write = std::get_if<WriteSidecar>(&each);
    if (write == nullptr) return;
    write->sidecar.meta = wanted_meta(at.object);
    write->sidecar.spec = at.spec;
    written = true;
  };
  for (auto& each : plan.steps) {
    for (auto& undo : each.undo) complete(undo);
    complete(each.step);
  }
  if (written || (deleting && !at.alive)) return;  // a full disk is no reason to keep a VM that is to go
  if (at.sidecar != nullptr && says_the_object(at)) return;
  // Nothing was made for it yet, or the next pass, at once, writes it with the addresses that are claimed in this one.
  if (at.sidecar == nullptr && (deleting || !plan.claims.empty())) return;
  // A directory that went with its disks may be put back: nothing is to stand in its place.
  if (!at.host.directory_exists && !at.alive && status_says_it_ran(at.vm.status)) return;
  if (at.sidecar == nullptr && at.alive && awaits_ranges(at)) return;  // a record without addresses would stay so

  std::vector<PlannedStep> steps;
  if (at.sidecar == nullptr) {
    auto next = rebuilt_record(at);
    if (!at.host.sidecar_error.empty() || next.launches > 0)
      plan.events.push_back({.type = api::EventType::Warning,
                             .reason = "SidecarLost",
                             .message = record_loss(at) + "; written again from what is observed"});
    if (!at.host.directory_exists) steps.push_back(vm_directory(at, next.nics));
    steps.push_back(step("Object", WriteSidecar{std::move(next)}));
  } else {
    steps.push_back(step("Object", WriteSidecar{*at.sidecar}));
  }
  for (auto& each : steps) complete(each.step);
  // What ends a VM that is deleted does not wait for a disk that has room.
  plan.steps.insert(deleting ? plan.steps.end() : plan.steps.begin(), steps.begin(), steps.end());
  if (!plan.look_again || *plan.look_again > kBarrier) plan.look_again = at.sidecar == nullptr ? kAtOnce : plan.look_again;
}

}  // namespace banger::reconcilers::virtual_machine
