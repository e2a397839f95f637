// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/teardown.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

struct Look {
  std::vector<PlannedStep> steps;  // that take it away
  std::string stays;               // why it cannot go by a step of ours
  std::string name;                // for people
};

Look vmm(const Situation& at) {
  // Ours may be ending beside them: what it had open stays until the group is empty.
  if (!at.strangers.empty()) return {.steps = {}, .stays = "is not ours to empty: " + foreign_group(at), .name = "its cgroup"};
  if (!at.alive) return {};
  return {.steps = {},
          .stays = at.vmm != nullptr ? fmt::format("runs as pid {}", at.vmm->pid) : "has processes in its cgroup",
          .name = "the VMM"};
}

Look jobs(const Situation& at) {
  Look look{.name = "a job"};
  for (const auto& job : at.host.jobs) {
    look.steps.push_back(forget_job(at, job.key.name));
    // It has been told to stop; what it writes would come back.
    if (job.state == actuators::JobState::Running) look.stays = fmt::format("(\"{}\") is still at work", job.key.name);
  }
  return look;
}

Look taps(const Situation& at) {
  Look look{.name = "its tap"};
  for (const auto& link : at.host.links) {
    if (own_tap(at, link.name) == nullptr) continue;
    if (link.leaving) {
      look.stays = fmt::format("({}) is being removed", link.name);
    } else {
      look.steps.push_back(step("Tap/" + link.name, actuators::RemoveLink{at.uid, link.name}));
    }
  }
  return look;
}

Look root_device(const Situation& at) {
  if (auto unseen = unseen_device(at); !unseen.empty())
    return {.steps = {}, .stays = "is waited for: " + unseen, .name = "its root disk"};
  const auto* node = own_node(at);
  if (node == nullptr) return {};
  Look look{.name = "the device " + node->name};
  if (node->suspended && node->open_count > 0) {
    // Whoever holds it open cannot let go of it while what it asked for does not come back.
    look.steps.push_back(step("ResumedDevice", actuators::ActivateRootDisk{.vm_uid = at.uid, .size = node->size}));
    look.stays = "was suspended under what holds it open";
  } else if (node->open_count > 0) {
    look.stays = fmt::format("is held open by something that is no VMM of ours ({} times)", node->open_count);
  } else {
    look.steps.push_back(step("RootDevice", actuators::DeactivateRootDisk{at.uid}));
  }
  return look;
}

Look cow_loop(const Situation& at) {
  const auto* loop = own_cow_loop(at);
  if (loop == nullptr) return {};
  return {.steps = {},
          .stays = own_node(at) != nullptr ? "goes with that device" : "is held open by something",
          .name = fmt::format("{} over {}", loop->device, loop->backing)};
}

// Something of a launch is still there: what the guest wrote may not be on the disk yet. A tap that is on its way out was sent
// there after a sync.
bool may_have_written(const Situation& at) {
  const auto tap = [&](const auto& link) { return !link.leaving && own_tap(at, link.name) != nullptr; };
  return !at.host.disks.empty() &&
         (at.host.run_directory_exists || (at.host.vmm.cgroup_exists && at.strangers.empty()) ||
          (own_node(at) != nullptr && own_node(at)->open_count == 0) || std::ranges::any_of(at.host.links, tap));
}

Look look_at_thing(Thing thing, const Situation& at, Purpose purpose) {
  switch (thing) {
    case Thing::Vmm:
      return vmm(at);
    case Thing::Jobs:
      return jobs(at);
    case Thing::UnsyncedDisks:
      if (purpose == Purpose::Delete || !may_have_written(at) || !unseen_device(at).empty()) return {};
      return {.steps = {step("SyncDisks", actuators::SyncDisks{at.uid})}, .stays = "", .name = "unsynced disks"};
    case Thing::Taps:
      return taps(at);
    case Thing::RunDirectory:
      if (!at.host.run_directory_exists) return {};
      return {.steps = {step("RunDirectory", actuators::ClearRunDirectory{at.uid})}, .stays = "", .name = "its run directory"};
    case Thing::Cgroup:
      if (!at.host.vmm.cgroup_exists || !at.strangers.empty()) return {};
      return {.steps = {step("Cgroup", actuators::RemoveCgroup{at.uid})}, .stays = "", .name = "its cgroup"};
    case Thing::RootDevice:
      return root_device(at);
    case Thing::CowLoop:
      return cow_loop(at);
    case Thing::Directory:
      // A link in its place goes too; what it leads to is somebody else's.
      if (purpose == Purpose::Stop || (!at.host.directory_exists && !at.host.directory_is_link)) return {};
      return {.steps = {step("Directory", actuators::RemoveVmDirectory{at.uid})}, .stays = "", .name = "its directory"};
  }
  return {};
}

}  // namespace

std::span<const Edge> teardown_graph() {
  using enum Thing;
  static const std::vector<Edge> kGraph{
      {Vmm, {}},
      {Jobs, {}},
      {UnsyncedDisks, {Vmm}},
      {Taps, {Vmm}},
      {RunDirectory, {Vmm}},
      {Cgroup, {Vmm}},
      {RootDevice, {Vmm, Jobs, UnsyncedDisks}},
      {CowLoop, {RootDevice}},
      {Directory, {Vmm, Jobs, RootDevice, CowLoop, Taps, RunDirectory, Cgroup}},
  };
  return kGraph;
}

Teardown plan_teardown(const Situation& at, Purpose purpose) {
  Teardown teardown;
  std::map<Thing, std::string> staying;  // and its name
  for (const auto& [thing, after] : teardown_graph()) {
    auto look = look_at_thing(thing, at, purpose);
    if (look.steps.empty() && look.stays.empty()) continue;
    const auto blocking = std::ranges::find_if(after, [&](const auto each) { return staying.contains(each); });
    if (blocking != after.end()) {
      teardown.waits.push_back(fmt::format("{} waits for {}", look.name, staying.at(*blocking)));
    } else {
      teardown.steps.insert(teardown.steps.end(), look.steps.begin(), look.steps.end());
      if (look.stays.empty()) continue;
      teardown.waits.push_back(fmt::format("{} {}", look.name, look.stays));
    }
    staying[thing] = look.name;
  }
  return teardown;
}

}  // namespace banger::reconcilers::virtual_machine
