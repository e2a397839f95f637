// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/root_disk.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/cow_size.hpp"
#include "actuators/names.hpp"
#include "api/codec.hpp"
#include "base/text.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using api::ConditionStatus;

constexpr std::uint64_t kBlock = kib(4).value;
constexpr std::string_view kSnapshot = "dm-snapshot";
constexpr std::string_view kFilling = "RootDiskFilling";

Bytes rounded_up(Bytes size, std::uint64_t unit) { return {(size.value + unit - 1) / unit * unit}; }

// A condition, and an event when it is news.
void warn(Plan& plan, const Situation& at, const std::string& type, const std::string& reason, std::string message) {
  const auto* before = api::find_condition(at.vm.status.conditions, type);
  if (before == nullptr || before->reason != reason)
    plan.events.push_back({.type = api::EventType::Warning, .reason = type, .message = message});
  plan.findings.push_back({.type = type, .status = ConditionStatus::True, .reason = reason, .message = std::move(message)});
}

Bytes recorded_size(const Situation& at) {
  auto size = at.sidecar != nullptr ? at.sidecar->root_size : Bytes{};
  if (const auto* node = own_node(at); node != nullptr && node->live) size = std::max(size, node->size);
  if (size.value != 0) return size;
  const auto& disks = at.vm.status.disks;
  const auto root = std::ranges::find(disks, "root", &api::DiskStatus::name);
  return root != disks.end() && root->backend == kSnapshot ? root->size : Bytes{};
}

void say_unseen(Plan& plan, const Situation& at, std::string message) {
  warn(plan, at, "RootDeviceUnseen", "NotReadable", std::move(message));
}

void say_invalid(Plan& plan, const Situation& at) {
  warn(
      plan, at, "RootDiskInvalid", "SnapshotInvalid",
      fmt::format("the kernel gave up the root disk: its root.cow could not be written, and what the guest wrote since the image "
                  "cannot be read; data disks are whole. Stop the VM, save or mend {}, and start it again; or delete the VM and "
                  "apply it again for a new root disk",
                  actuators::root_cow_path(at.observed.layout, at.uid).string()));
}

}  // namespace

bool is_snapshot(const Situation& at) {
  const auto* root = find_disk(at, "root");
  return root != nullptr && root->backend == kSnapshot;
}

std::string unseen_device(const Situation& at) {
  if (at.host.root_unseen.empty()) return {};
  const bool recorded = at.sidecar != nullptr && (!at.sidecar->dm_name.empty() || at.sidecar->root_backend == kSnapshot);
  const bool told = at.vm.status.runtime && !at.vm.status.runtime->dm.empty();
  if (!is_snapshot(at) && !recorded && !told) return {};
  return "the device of the root disk cannot be looked at: " + printable(at.host.root_unseen);
}

bool lost_root_disk(const Situation& at) {
  const auto* node = own_node(at);
  return node != nullptr && node->live && node->invalid && !at.sidecar->dm_name.empty();
}

const actuators::SnapshotView* own_node(const Situation& at) {
  return at.host.snapshot && at.host.snapshot->ours ? &*at.host.snapshot : nullptr;
}

const actuators::LoopView* own_cow_loop(const Situation& at) {
  if (at.host.loops.empty()) return nullptr;
  const auto label = actuators::cow_loop_label(at.uid);
  const auto found = std::ranges::find_if(at.host.loops, [&](const auto& loop) { return loop.label == label && !loop.deleted; });
  return found == at.host.loops.end() ? nullptr : &*found;
}

bool stands(const actuators::SnapshotView& node, Bytes size) {
  // A disk never becomes shorter than its files say that it was.
  return node.live && !node.suspended && !node.overflow && node.size >= size;
}

std::int64_t used_percent(const actuators::SnapshotView& node) {
  if (node.overflow || node.invalid) return 100;
  return node.cow_size.value == 0 ? 0 : static_cast<std::int64_t>(node.cow_used.value * 100 / node.cow_size.value);
}

Bytes root_size(const Situation& at) {
  auto size = std::max(recorded_size(at), at.spec.root_disk.size.value_or(Bytes{}));
  if (recorded_size(at).value == 0) size = std::max(size, at.observed.image.size);
  return rounded_up(size, kBlock);
}

std::string foreign_device(const Situation& at) {
  if (at.host.snapshot && !at.host.snapshot->ours)
    return fmt::format("the device {} exists and is not ours; it is left as it is", printable(at.host.snapshot->name));
  if (at.host.loops.empty()) return {};
  const auto label = actuators::cow_loop_label(at.uid);
  const auto base = actuators::root_base_path(at.observed.layout, at.uid).filename();
  for (const auto& loop : at.host.loops) {
    const bool shared = std::filesystem::path(loop.backing).filename() == base && loop.read_only;
    if (loop.label == label || loop.deleted || shared) continue;
    return fmt::format("{} stands over {} and is not ours; it is left as it is", loop.device, printable(loop.backing));
  }
  return {};
}

void record_root_disk(actuators::Sidecar& record, const Situation& at) {
  const auto* root = find_disk(at, "root");
  const bool other = root != nullptr && (record.root_backend == kSnapshot) != is_snapshot(at);  // guessed from a device
  if (root != nullptr && (record.root_backend.empty() || other)) record.root_backend = root->backend;
  if (root == nullptr && own_node(at) != nullptr) record.root_backend = kSnapshot;
  if (root != nullptr && !is_snapshot(at)) {  // a device of our name may stand there; the VMM does not use it
    record.dm_name.clear();
    record.loop_files.clear();
    return;
  }
  if (!is_snapshot(at) && own_node(at) == nullptr) return;
  record.root_size = root_size(at);
  record.dm_name = actuators::dm_name(at.uid);
  record.loop_files = {actuators::root_base_path(at.observed.layout, at.uid).string(),
                       actuators::root_cow_path(at.observed.layout, at.uid).string()};
}

void plan_room(Plan& plan, const Situation& at, std::int64_t grow_from, const std::string& told_in) {
  const auto* root = find_disk(at, "root");
  const auto* node = own_node(at);
  if (!is_snapshot(at) || (node != nullptr && node->invalid)) return;
  const auto most = actuators::full_cow_size(root_size(at));
  auto wanted = std::min(actuators::in_chunks(at.spec.root_disk.cow.size.value_or(Bytes{})), most);
  const auto percent = node != nullptr && node->live ? used_percent(*node) : 0;
  const bool can_fill = root->size < most;
  const bool grows = at.spec.root_disk.cow.growth == api::CowGrowth::Auto && can_fill;
  const bool unfinished = node != nullptr && node->live && node->cow_size.value != 0 && node->cow_size < root->size;
  if (percent >= grow_from && grows && !unfinished) wanted = std::max(wanted, std::min(Bytes{root->size.value * 2}, most));
  if (node != nullptr && node->overflow) {
    warn(plan, at, "RootDiskFull", "SnapshotOverflow",
         fmt::format("the space set aside for the root disk's writes ({}) is full: the guest's writes fail, and what it wrote "
                     "before is safe; {}. A guest that took its disk for broken needs a restart",
                     api::format_quantity(root->size),
                     grows || unfinished ? "more is being set aside" : "spec.rootDisk.cow.size sets more aside"));
  } else if (!unfinished && percent >= kFillingPercent && (can_fill || percent >= 100)) {
    warn(plan, at, std::string(kFilling), "SnapshotFilling",
         fmt::format("{} % of the space set aside for the root disk's writes ({}) is used{}", percent,
                     api::format_quantity(root->size),
                     grows ? "; it is being grown" : "; spec.rootDisk.cow.size gives more, also while the VM runs"));
  }
  if (wanted <= root->size && !unfinished) return;
  wanted = std::max(wanted, root->size);
  plan.steps.push_back(step("GrowCow", actuators::GrowRootCow{.vm_uid = at.uid, .size = wanted}));
  plan.steps.back().told_in = told_in;
  plan.look_again = kAtOnce;
}

void plan_resume(Plan& plan, const Situation& at) {
  const auto* node = own_node(at);
  if (node == nullptr || !node->suspended) return;
  plan.steps.push_back(step("Repair/RootDevice", actuators::ActivateRootDisk{.vm_uid = at.uid, .size = node->size}));
  plan.look_again = kAtOnce;
}

bool plan_device(Plan& plan, const Situation& at) {
  if (!is_snapshot(at)) return true;
  if (auto unseen = unseen_device(at); !unseen.empty()) {
    plan.phase = "Pending";
    say_ready(plan, ConditionStatus::False, "RootDeviceUnseen", unseen);
    say_unseen(plan, at, std::move(unseen));
    plan.look_again = kSlowly;
    return false;
  }
  const auto* node = own_node(at);
  const auto size = root_size(at);
  const auto refuse = [&](std::string reason, std::string message) {
    plan.phase = "Failed";
    say_ready(plan, ConditionStatus::False, std::move(reason), std::move(message));
    plan.look_again = kSlowly;
    return false;
  };
  if (node != nullptr && node->invalid) {
    say_invalid(plan, at);
    return refuse("RootDiskInvalid", plan.findings.back().message);
  }
  if (size.value == 0)
    return refuse("RootDiskSizeUnknown", "how large its root disk is was lost with vm.json; say it in spec.rootDisk.size");
  plan_room(plan, at, 100, {});
  if (node != nullptr && node->name == actuators::dm_name(at.uid) && stands(*node, size)) return true;
  // An overflow is only forgotten by a node that is made anew.
  if (node != nullptr && node->live && node->overflow)
    plan.steps.push_back(step("OldRootDevice", actuators::DeactivateRootDisk{at.uid}));
  plan.steps.push_back({.name = "RootDevice",
                        .step = actuators::ActivateRootDisk{.vm_uid = at.uid, .size = size},
                        .undo = {actuators::DeactivateRootDisk{at.uid}}});
  return true;
}

void plan_device_repairs(Plan& plan, const Situation& at) {
  if (at.sidecar->dm_name.empty()) return;  // it was not launched on one
  if (auto unseen = unseen_device(at); !unseen.empty()) return say_unseen(plan, at, std::move(unseen));
  const auto* node = own_node(at);
  if (const auto foreign = foreign_device(at); !foreign.empty()) warn(plan, at, "NameConflict", "ForeignObject", foreign);
  if (node == nullptr || node->name != at.sidecar->dm_name) {
    warn(plan, at, "RootDeviceLost", node == nullptr ? "NodeGone" : "NodeRenamed",
         fmt::format("the device {} of the root disk {}; the VMM keeps it open, and the next start makes it anew",
                     at.sidecar->dm_name,
                     node == nullptr ? "cannot be found" : fmt::format("was renamed to {}", printable(node->name))));
    if (node == nullptr) return;
  }
  if (!node->live) return warn(plan, at, "RootDeviceLost", "TableGone", wiped_device(at) + "; a restart would cure it");
  if (lost_root_disk(at)) return say_invalid(plan, at);
  plan_resume(plan, at);
  plan_room(plan, at, kFillingPercent, std::string(kFilling));
}

std::string wiped_device(const Situation& at) {
  const auto* node = own_node(at);
  if (at.sidecar->dm_name.empty() || node == nullptr || node->live) return {};
  return fmt::format("the device {} fails every access of the VMM: its table was taken away", node->name);
}

}  // namespace banger::reconcilers::virtual_machine
