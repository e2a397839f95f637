// SPDX-License-Identifier: Apache-2.0
#include "controller/garbage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "actuators/names.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace banger::controller {
namespace {

using actuators::Belonging;
using actuators::HostObject;
using actuators::HostObjectType;

constexpr std::array kOwningKinds{api::Kind::Network, api::Kind::Kernel, api::Kind::Image, api::Kind::VirtualMachine};

std::string why_left_alone(const HostObject& object) {
  switch (object.belonging) {
    case Belonging::OtherDaemon:
      return "another daemon made it";
    case Belonging::Unproven:
      return "nothing proves which daemon made it";
    case Belonging::Foreign:
      return "bangerd did not make it";
    case Belonging::Ours:
      break;
  }
  return "";
}

// A group may be told to have processes for a moment longer than they are seen.
bool lives(const HostObject& object) {
  return object.type == HostObjectType::Process || (object.type == HostObjectType::Cgroup && !object.in_use.empty());
}

bool goes_with_its_node(const HostObject& object) { return object.type == HostObjectType::Loop; }

// What has things of the owner under it must wait for them.
bool must_wait(const HostObject& object) {
  if (object.in_use.empty()) return false;
  return object.type == HostObjectType::Bridge || object.type == HostObjectType::NatTable ||
         object.type == HostObjectType::VmDirectory || object.type == HostObjectType::Loop;
}

void judge_orphan(GarbageRow& row, bool vm_lives, bool adopting) {
  const auto& object = row.object;
  if (object.type == HostObjectType::Process) {
    row.fate = Fate::NeedsConfirmation;
    row.reason = "orphan: it runs";
  } else if (vm_lives) {
    row.fate = Fate::NeedsConfirmation;
    row.reason = "orphan: a process of its VM runs";
  } else if (must_wait(object)) {
    row.fate = Fate::Waits;
    row.reason = fmt::format("orphan: in use by {}", object.in_use);
  } else if (object.holds_data) {
    row.fate = Fate::NeedsConfirmation;
    row.reason = "orphan: it holds data";
  } else if (goes_with_its_node(object)) {
    row.fate = Fate::Waits;
    row.reason = "orphan: goes by itself with its last user";
  } else if (adopting) {
    row.fate = Fate::Waits;
    row.reason = "orphan: nothing is collected in adopt mode";
  } else {
    row.fate = Fate::Collected;
    row.reason = "orphan";
  }
}

// The steps for one thing; none: it goes with another, or must wait.
std::vector<actuators::Step> steps_for(const GarbageRow& row, Permission permission) {
  const auto& object = row.object;
  if (must_wait(object) || (object.holds_data && permission == Permission::Harmless)) return {};
  switch (object.type) {
    case HostObjectType::Process:
    case HostObjectType::Loop:
      return {};
    case HostObjectType::DmNode:
      return {actuators::DeactivateRootDisk{object.uid}};
    case HostObjectType::Tap:
    case HostObjectType::Link:
    case HostObjectType::Bridge:
      return {actuators::RemoveLink{object.uid, object.name}};
    case HostObjectType::NatTable:
      return {actuators::RemoveNat{object.uid, object.name}};
    case HostObjectType::Cgroup:
      return {actuators::RemoveCgroup{object.uid}};
    case HostObjectType::RunDirectory:
      return {actuators::ClearRunDirectory{object.uid}};
    case HostObjectType::VmDirectory:
      return {actuators::RemoveVmDirectory{object.uid}};
    case HostObjectType::NetworkDirectory:
      return {actuators::RemoveNetworkDirectory{object.uid}};
    case HostObjectType::KernelDirectory:
      return {actuators::RemoveKernelDirectory{object.uid}};
    case HostObjectType::ImageDirectory:
      return {actuators::RemoveImageDirectory{object.uid}};
  }
  return {};
}

// What a process asked of a suspended node does not come back before that is resumed, and the process does not end.
std::vector<actuators::Step> steps_to_end(const std::string& uid, const std::vector<const GarbageRow*>& group) {
  std::vector<actuators::Step> steps{actuators::KillVmm{uid}};
  if (std::ranges::any_of(group, [](const GarbageRow* row) { return row->object.suspended && !row->object.in_use.empty(); }))
    steps.emplace_back(actuators::ActivateRootDisk{.vm_uid = uid});
  return steps;
}

}  // namespace

std::string_view name_of(Fate fate) {
  switch (fate) {
    case Fate::Kept:
      return "Kept";
    case Fate::Collected:
      return "Collected";
    case Fate::NeedsConfirmation:
      return "NeedsConfirmation";
    case Fate::Waits:
      return "Waits";
    case Fate::LeftAlone:
      return "LeftAlone";
  }
  return "";
}

std::vector<GarbageRow> classify(const std::vector<HostObject>& inventory, const std::map<std::string, api::ObjectKey>& owners,
                                 bool adopting) {
  std::map<std::string, api::ObjectKey> by_short_id;  // a run directory tells no more of its owner
  for (const auto& [uid, key] : owners) by_short_id.emplace(actuators::short_id(uid), key);
  std::set<std::string> living;
  for (const auto& object : inventory) {
    if (lives(object) && object.belonging == Belonging::Ours) living.insert(object.uid);
  }
  std::vector<GarbageRow> rows;
  rows.reserve(inventory.size());
  for (const auto& object : inventory) {
    GarbageRow row{.object = object, .owner = {}, .reason = why_left_alone(object)};
    if (object.belonging == Belonging::Ours && !object.uid.empty()) {
      if (const auto owner = owners.find(object.uid); owner != owners.end()) {
        row.owner = owner->second;
      } else if (object.type == HostObjectType::RunDirectory) {
        const auto near = by_short_id.find(actuators::short_id(object.uid));
        if (near != by_short_id.end()) row.owner = near->second;
      }
      row.fate = Fate::Kept;
      if (!row.owner) judge_orphan(row, living.contains(object.uid), adopting);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Teardown> plan_teardown(const std::vector<GarbageRow>& rows, Permission permission) {
  std::map<std::string, std::vector<const GarbageRow*>> of_uid;
  for (const auto& row : rows) {
    if (is_orphan(row)) of_uid[row.object.uid].push_back(&row);
  }
  std::vector<Teardown> out;
  for (auto& [uid, group] : of_uid) {
    Teardown teardown{.uid = uid, .steps = {}, .waits_for = ""};
    std::ranges::stable_sort(group, {}, [](const GarbageRow* row) { return row->object.type; });
    const auto living = std::ranges::find_if(group, [](const GarbageRow* row) { return lives(row->object); });
    if (living != group.end()) {
      // The barrier: nothing under a living VMM is taken away.
      if (permission == Permission::Everything) teardown.steps = steps_to_end(uid, group);
      teardown.waits_for = fmt::format("{} {} to end", actuators::name_of((*living)->object.type), (*living)->object.name);
    } else {
      for (const auto* row : group) std::ranges::move(steps_for(*row, permission), std::back_inserter(teardown.steps));
    }
    if (!teardown.steps.empty()) out.push_back(std::move(teardown));
  }
  // Networks last: what is on their bridges goes first.
  std::ranges::stable_partition(out, [](const Teardown& teardown) {
    return std::ranges::none_of(teardown.steps, [](const actuators::Step& step) {
      return std::holds_alternative<actuators::RemoveNat>(step) ||
             std::holds_alternative<actuators::RemoveNetworkDirectory>(step);
    });
  });
  return out;
}

GarbageCollector::GarbageCollector(store::Objects& objects, actuators::Host& host, const AdoptMode& adopt_mode, Metrics& metrics)
    : objects_(objects), host_(host), adopt_mode_(adopt_mode), metrics_(metrics) {}

Result<std::map<std::string, api::ObjectKey>> GarbageCollector::owners() const {
  std::map<std::string, api::ObjectKey> out;
  for (const auto kind : kOwningKinds) {
    BGR_TRY(const auto listing, objects_.store().list({.kind = kind, .ns = {}}));
    for (const auto& object : listing.objects) out.emplace(object.meta.uid, api::key_of(object));
  }
  return out;
}

Result<std::vector<GarbageRow>> GarbageCollector::rows() {
  BGR_TRY(const auto inventory, host_.inventory());
  BGR_TRY(const auto stored, owners());
  auto out = classify(inventory, stored, adopt_mode_.active());
  const auto orphans = std::ranges::count_if(out, is_orphan);
  metrics_.gauge("banger_orphans", "Things on the host that this daemon made and that belong to no stored object.")
      .set(static_cast<double>(orphans));
  return out;
}

Result<GarbageReport> GarbageCollector::look() {
  GarbageReport report{.adopting = adopt_mode_.why(), .rows = {}, .done = {}, .failed = {}};
  BGR_TRY(report.rows, rows());
  return report;
}

Result<GarbageReport> GarbageCollector::collect(Permission permission) {
  const std::lock_guard lock(collecting_);
  if (const auto why = adopt_mode_.why(); !why.empty()) {
    return fail(Error{ErrorCode::Conflict, fmt::format("adopt mode: {}; nothing is collected until then, or until it is ended "
                                                       "with: bangerctl gc --confirm",
                                                       why)});
  }
  GarbageReport report;
  BGR_TRY(const auto before, rows());
  const auto plan = plan_teardown(before, permission);
  carry_out(plan, report);
  BGR_TRY(report.rows, rows());
  // Something went, or is about to: what it held up can go now.
  const bool changed = !report.done.empty();
  report.unfinished = (changed || std::ranges::any_of(plan, [](const Teardown& t) { return !t.waits_for.empty(); })) &&
                      !plan_teardown(report.rows, permission).empty();
  return report;
}

// Since the host was read an object may have been made under one of these uids, by its claim. After a claim is withdrawn none can
// be any more: who is made under that name is somebody new. So the store is asked after that, and what it does not have then
// stays an orphan.
Result<std::vector<const Teardown*>> GarbageCollector::still_orphans(const std::vector<Teardown>& plan) {
  std::vector<const Teardown*> out;
  for (const auto& teardown : plan) {
    if (objects_.withdraw_claim(teardown.uid)) out.push_back(&teardown);
  }
  BGR_TRY(const auto stored, owners());
  std::set<std::string> taken;  // by short id: what has lost all but that bears a made up uid
  for (const auto& [uid, key] : stored) taken.insert(actuators::short_id(uid));
  std::erase_if(out, [&](const Teardown* teardown) { return taken.contains(actuators::short_id(teardown->uid)); });
  return out;
}

void GarbageCollector::carry_out(const std::vector<Teardown>& plan, GarbageReport& report) {
  const auto orphans = still_orphans(plan);
  if (!orphans) {
    report.failed.push_back("reading what is stored: " + orphans.error().message);
    return;
  }
  for (const auto* teardown : *orphans) {
    for (const auto& step : teardown->steps) {
      const auto applied = host_.apply(step);
      if (!applied) {
        report.failed.push_back(fmt::format("{}: {}", actuators::describe(step), applied.error().message));
        break;  // what comes after stands on it
      }
      if (*applied == actuators::Applied::Changed) report.done.push_back(actuators::describe(step));
    }
  }
}

void GarbageCollector::run() {
  const std::lock_guard lock(collecting_);
  const auto now = rows();
  if (!now) {
    log::warning("looking for orphans on the host failed, ignoring", {{"error", now.error().message}});
    return;
  }
  std::set<std::string> orphans;
  for (const auto& row : *now) {
    if (is_orphan(row)) orphans.insert(row.object.uid);
  }
  const auto before = std::exchange(seen_, orphans);
  if (adopt_mode_.active()) return;
  auto plan = plan_teardown(*now, Permission::Harmless);
  std::erase_if(plan, [&](const Teardown& teardown) { return !before.contains(teardown.uid); });
  GarbageReport report;
  carry_out(plan, report);
  if (!report.done.empty()) log::info("orphans were collected", {{"steps", join(report.done, "; ")}});
  if (!report.failed.empty()) log::warning("orphans could not be collected, ignoring", {{"error", join(report.failed, "; ")}});
}

}  // namespace banger::controller
