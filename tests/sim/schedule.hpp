// SPDX-License-Identifier: Apache-2.0
// What happens to a host and its daemon in one run, as data: drawn from a seed, cut down when it finds something.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/draw.hpp"

namespace banger::simulation {

// Each act names what it uses: vm is the VM's number, arg and more are its own.
enum class Act : std::uint8_t {
  // A user.
  CreateVm,  // in the shape of arg; of a VM that is there or still going: waits until it can be made
  DeleteVm,
  RecreateVm,  // deleted, and made again under its name as soon as that is free
  EditLabels,
  EditMemory,
  GrowDisks,
  Stop,
  Start,
  Restart,
  CreateImage,
  DeleteImage,
  ChangeImage,  // another file in its place
  LeaveAdoptMode,
  CollectEverything,
  // The machine.
  KillDaemon,
  SecondDaemon,
  RebootHost,
  LoseDatabase,
  FillDisk,  // for arg seconds
  JumpClock,
  // Faults at calls.
  FaultAt,    // the arg-th call of any step: more is the fault
  FaultRate,  // so many of a thousand calls, errnos by the bits of more
  FailJobs,
  SlowJobs,  // from now on jobs take up to arg ms
  // Hints.
  LoseHints,
  DelayHints,
  RepeatHints,
  // Behind our back.
  RemoveTap,
  RemoveBridge,
  FlushNat,
  LoseSidecar,
  SpoilSidecar,
  LoseRecord,
  LoseDirectory,
  LoseDisk,
  RemoveNode,
  WipeNode,
  HalfCreateNode,
  SuspendNode,
  FillCow,
  BreakCow,
  NoLoops,
  // Guests and VMMs.
  CrashVmm,
  PowerOff,
  GuestReboot,
  UnreachableGuest,
  LyingGuest,
  BrokenMonitor,
  HangKills,
  StrayProcess,
  // Somebody else's things under our names.
  ForeignTap,
  ForeignNode,
  ForeignLoop,
  ForeignNat,
  Last_,
};
inline constexpr std::size_t kActs = static_cast<std::size_t>(Act::Last_);

struct Op {
  Act act = Act::CreateVm;
  std::chrono::milliseconds wait{};  // since the one before
  bool inside = false;               // when its time comes in the middle of a pass, it happens there
  std::uint32_t vm = 0;
  std::uint32_t arg = 0;
  std::uint32_t more = 0;
  std::size_t number = 0;  // in the schedule as drawn
};
std::string describe(const Op& op);

struct Schedule {
  std::uint64_t seed = 0;
  std::uint32_t vms = 1;
  bool device_mapper = true;
  bool text = false;     // objects and records go through their text and back
  bool rocksdb = false;  // the real database, in a directory of its own
  std::vector<Op> ops;
};

Schedule draw_schedule(std::uint64_t seed);

}  // namespace banger::simulation
