// SPDX-License-Identifier: Apache-2.0
// The questions that every part of a VM's plan asks of what was observed, and the words it answers with.
#pragma once

#include <string>
#include <vector>

#include "reconcilers/virtual_machine/plan.hpp"

namespace banger::reconcilers::virtual_machine {

inline constexpr std::chrono::milliseconds kAtOnce{0};
inline constexpr std::chrono::milliseconds kBarrier{100};                            // a killed VMM is about to go
inline constexpr std::chrono::milliseconds kSlowly = std::chrono::seconds(30);       // conflicts; deep check of a running VM
inline constexpr std::chrono::milliseconds kStrangers = std::chrono::seconds(5);     // when they go, nothing tells us
inline constexpr std::chrono::milliseconds kLaunchLimit = std::chrono::seconds(30);  // from launch to a verified, running VMM

inline constexpr std::chrono::milliseconds kShortRun = std::chrono::seconds(20);  // hardly enough to boot

inline constexpr std::string_view kEndedOnPurpose = "Stopped";

struct Situation {
  const api::Object& object;
  const api::VirtualMachine& vm;
  const api::VirtualMachineSpec& spec;
  const Context& observed;
  const actuators::VmView& host;
  const actuators::Sidecar* sidecar;                     // null: none that can be read
  const actuators::ProcessView* vmm;                     // null: none that is verified
  std::vector<const actuators::ProcessView*> strays;     // name our socket from outside our cgroup
  std::vector<const actuators::ProcessView*> strangers;  // in a cgroup of our name that is somebody else's
  bool alive = false;                                    // the cgroup is populated, and not by strangers
  const std::string& uid;
};

bool is_alive(const actuators::VmmView& view);
Situation look_at(const api::Object& vm, const Context& context, const actuators::VmView& host);

const actuators::JobView* find_job(const Situation& at, std::string_view name);
const actuators::LinkView* own_tap(const Situation& at, std::string_view name);
const actuators::DiskView* find_disk(const Situation& at, std::string_view name);
const actuators::LinkView* foreign_tap(const Situation& at);          // the first link that bears one of our names, not our label
std::string foreign_group(const Situation& at);                       // a sentence; empty: there is none
std::optional<actuators::SshTarget> ssh_target(const Situation& at);  // of the running VMM; absent: no ssh or no interface

// The Ready condition was true for the VMM that is observed now.
bool was_ready(const Situation& at);

// "exe (pid 12, pid 34)" for people.
std::string list_of(const std::vector<const actuators::ProcessView*>& processes);

void say_ready(Plan& plan, api::ConditionStatus status, std::string reason, std::string message);
void say_running(Plan& plan, api::ConditionStatus status, std::string reason, std::string message);

PlannedStep step(std::string name, actuators::Step step);
PlannedStep forget_job(const Situation& at, const std::string& name);
PlannedStep vm_directory(const Situation& at, const std::vector<actuators::NicRecord>& nics);  // with the guest's pinned host key

// The sidecar after this launch ended for this reason: the backoff before the next is 0, then 1 s doubling to 5 min; ends after
// 10 min of running count anew. Ends on purpose wait for nothing, nor do reboots by a guest that has run for a while.
actuators::Sidecar ended_as(actuators::Sidecar sidecar, std::string_view reason, WallTime now);

// What is left of that backoff; zero: it is over. A clock that was set back does not make it longer.
std::chrono::milliseconds backoff_left(const actuators::Sidecar& sidecar, WallTime now);

// Differences to what the VMM was launched with, as conditions and pending changes. A stopped VM takes up all but the Recreate
// ones at its next start.
void plan_pending_changes(Plan& plan, const Situation& at);

// The parts of the plan, each in its file.
Plan plan_start(const Situation& at);                                                 // should run, does not
Plan plan_running(const Situation& at);                                               // should run, is alive
Plan plan_stop(const Situation& at, std::string_view ended, std::string_view phase);  // is alive and is to end
Plan plan_stopped(const Situation& at, std::string_view phase, std::string_view reason, std::string_view message);
Plan plan_deletion(const Situation& at);

// Adds to the plan of a VM whose guest waits at a write that the host refused: say so, and let it try again. Nothing is lost by
// waiting and much by a kill, so it is never ended for this.
void plan_full_disk(Plan& plan, const Situation& at);
std::string full_disk_sentence(const Situation& at);

}  // namespace banger::reconcilers::virtual_machine
