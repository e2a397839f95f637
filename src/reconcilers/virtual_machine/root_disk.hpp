// SPDX-License-Identifier: Apache-2.0
// The root disk as a dm-snapshot: what stands over its files, what is wrong with that, and how full it is.
#pragma once

#include <string>

#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {

inline constexpr std::int64_t kFillingPercent = 80;

bool is_snapshot(const Situation& at);     // the root disk is kept in a root.cow
bool lost_root_disk(const Situation& at);  // the VMM's snapshot was given up by the kernel
const actuators::SnapshotView* own_node(const Situation& at);
const actuators::LoopView* own_cow_loop(const Situation& at);  // over root.cow, with our label
bool stands(const actuators::SnapshotView& node, Bytes size);  // as ActivateRootDisk makes it
std::int64_t used_percent(const actuators::SnapshotView& node);

// How large the disk is to be: never smaller than it was. Zero: nothing is known of it.
Bytes root_size(const Situation& at);

// A device or a loop that bears our name or stands over our file and is not ours: a sentence about it, or nothing.
std::string foreign_device(const Situation& at);

// Backend, size, device and loops as they are to stand in vm.json before they are made.
void record_root_disk(actuators::Sidecar& record, const Situation& at);

// Device-mapper or a loop did not tell of it, and this VM has, or had, a device: a sentence, or nothing.
std::string unseen_device(const Situation& at);

// Room for writes: said when it runs out, and made where the policy says so. From this fill on, in percent. A growth that fails
// is told in this condition and ends no plan, where one is named.
void plan_room(Plan& plan, const Situation& at, std::int64_t grow_from, const std::string& told_in);

// A device that was suspended under its VMM: whatever that asked of it waits, and it cannot even end.
void plan_resume(Plan& plan, const Situation& at);

// The steps that make the device; false when there can be none, and the plan says why.
bool plan_device(Plan& plan, const Situation& at);

// While a VMM runs on it. What cannot be repaired under it is said.
void plan_device_repairs(Plan& plan, const Situation& at);

// The device fails every access of the VMM, and only another launch gives it its disk again: a sentence, or nothing.
std::string wiped_device(const Situation& at);

}  // namespace banger::reconcilers::virtual_machine
