// SPDX-License-Identifier: Apache-2.0
#include "sim/schedule.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "sim/faults.hpp"

namespace banger::simulation {
namespace {

using std::chrono::milliseconds;

constexpr std::array<std::string_view, kActs> kNames{
    "CreateVm",     "DeleteVm",     "RecreateVm",     "EditLabels",       "EditMemory",  "GrowDisks",     "Stop",
    "Start",        "Restart",      "CreateImage",    "DeleteImage",      "ChangeImage", "LeaveAdopt",    "CollectEverything",
    "KillDaemon",   "SecondDaemon", "RebootHost",     "LoseDatabase",     "FillDisk",    "JumpClock",     "FaultAt",
    "FaultRate",    "FailJobs",     "SlowJobs",       "LoseHints",        "DelayHints",  "RepeatHints",   "RemoveTap",
    "RemoveBridge", "FlushNat",     "LoseSidecar",    "SpoilSidecar",     "LoseRecord",  "LoseDirectory", "LoseDisk",
    "RemoveNode",   "WipeNode",     "HalfCreateNode", "SuspendNode",      "FillCow",     "BreakCow",      "NoLoops",
    "CrashVmm",     "PowerOff",     "GuestReboot",    "UnreachableGuest", "LyingGuest",  "BrokenMonitor", "HangKills",
    "StrayProcess", "ForeignTap",   "ForeignNode",    "ForeignLoop",      "ForeignNat"};

struct Class {
  std::uint32_t weight;  // against the other classes that are on
  std::vector<Act> acts;
};

// What a seed switches on or off together.
const std::vector<Class>& classes() {
  using enum Act;
  static const std::vector<Class> kClasses{
      {6, {EditLabels, EditMemory, GrowDisks}},
      {8, {Stop, Start, Restart}},
      {6, {DeleteVm, RecreateVm}},
      {2, {CreateImage, DeleteImage, ChangeImage}},
      {6, {KillDaemon, KillDaemon, KillDaemon, SecondDaemon}},
      {10, {FaultAt}},
      {3, {FaultRate}},
      {3, {FailJobs, SlowJobs}},
      {2, {RebootHost}},
      {1, {LoseDatabase, LeaveAdoptMode, CollectEverything}},
      {2, {FillDisk}},
      {2, {JumpClock}},
      {3, {LoseHints, DelayHints, RepeatHints}},
      {5, {RemoveTap, RemoveBridge, FlushNat}},
      {4, {LoseSidecar, SpoilSidecar, LoseRecord}},
      {1, {LoseDirectory, LoseDisk}},
      {4, {RemoveNode, WipeNode, HalfCreateNode, SuspendNode, FillCow, BreakCow, NoLoops}},
      {5, {CrashVmm, PowerOff, GuestReboot, BrokenMonitor}},
      {4, {UnreachableGuest, LyingGuest, HangKills, StrayProcess}},
      {2, {ForeignTap, ForeignNode, ForeignLoop, ForeignNat}},
  };
  return kClasses;
}

// Mostly within one pass of the last, sometimes after everything has come to rest.
milliseconds draw_wait(Draw& draw) {
  switch (draw.below(6)) {
    case 0:
      return milliseconds{0};
    case 1:
    case 2:
      return milliseconds{draw.below(12)};
    case 3:
      return milliseconds{draw.below(200)};
    case 4:
      return milliseconds{draw.below(5'000)};
    default:
      return milliseconds{draw.below(40'000)};
  }
}

Fault draw_fault(Draw& draw) {
  Fault fault{.after = draw.one_in(2), .sys_errno = {}};
  if (draw.one_in(2)) fault.sys_errno = draw.below(kErrnos);
  return fault;
}

void draw_arguments(Op& op, Draw& draw) {
  op.arg = draw.below(1U << 20U);
  op.more = draw.below(1U << 20U);
  switch (op.act) {
    case Act::FaultAt:
      op.arg = 1 + draw.below(24);
      op.more = static_cast<std::uint32_t>(index_of(draw_fault(draw)));
      return;
    case Act::FaultRate:
      op.arg = draw.below(3) * 60 + draw.below(40);
      return;
    case Act::SlowJobs:
      op.arg = 1 + draw.below(draw.one_in(3) ? 15'000 : 300);
      return;
    default:
      return;
  }
}

std::uint32_t draw_vms(Draw& draw) {
  constexpr std::array<std::uint32_t, 6> kPercent{45, 28, 13, 7, 4, 3};
  std::uint32_t left = draw.below(100);
  std::uint32_t vms = 1;
  for (const auto percent : kPercent) {
    if (left < percent) return vms;
    left -= percent;
    ++vms;
  }
  return 1;
}

}  // namespace

std::string describe(const Op& op) {
  std::string text = fmt::format("{:>3}. +{} ms{} {}", op.number, op.wait.count(), op.inside ? " (in a pass)" : "",
                                 kNames.at(static_cast<std::size_t>(op.act)));
  switch (op.act) {
    case Act::FaultAt:
      return text + fmt::format(" step {}: {}", op.arg, describe(fault_at(op.more % kFaults)));
    case Act::FaultRate:
    case Act::SlowJobs:
      return text + fmt::format(" {}", op.arg);
    default:
      return text + fmt::format(" vm{} ({}, {})", op.vm, op.arg, op.more);
  }
}

Schedule draw_schedule(std::uint64_t seed) {
  Draw draw(seed);
  Schedule schedule{
      .seed = seed, .vms = draw_vms(draw), .device_mapper = !draw.one_in(4), .text = seed % 8 == 0, .rocksdb = false, .ops = {}};
  std::vector<const Class*> on;
  std::uint32_t weights = 0;
  for (const auto& each : classes()) {
    if (!draw.one_in(2)) continue;
    on.push_back(&each);
    weights += each.weight;
  }
  const auto add = [&](Act act, std::uint32_t vm, milliseconds wait) {
    Op op{.act = act, .wait = wait, .inside = draw.one_in(2), .vm = vm, .arg = 0, .more = 0, .number = schedule.ops.size()};
    draw_arguments(op, draw);
    schedule.ops.push_back(op);
  };
  for (std::uint32_t vm = 0; vm < schedule.vms; ++vm) add(Act::CreateVm, vm, draw_wait(draw));
  const auto count = 10 + draw.below(1 + draw.below(51));
  while (schedule.ops.size() < count && weights > 0) {
    auto left = draw.below(weights);
    std::size_t which = 0;
    while (left >= on[which]->weight) left -= on[which++]->weight;
    const auto& acts = on[which]->acts;
    const auto wait = draw_wait(draw);
    const auto act = draw.one_in(12) ? Act::CreateVm : acts[draw.below(static_cast<std::uint32_t>(acts.size()))];
    add(act, draw.below(schedule.vms), wait);
  }
  return schedule;
}

}  // namespace banger::simulation
