// SPDX-License-Identifier: Apache-2.0
// What a pass says about a VM: only what it observed and did; of the old status no more than the history.
#pragma once

#include <string>
#include <vector>

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/virtual_machine/plan.hpp"

namespace banger::reconcilers::virtual_machine {

api::VirtualMachineStatus status_of(const api::Object& vm, const Observed& observed, const Plan& plan,
                                    const AppliedSteps& applied);

// status.steps of the latest start or stop: those shown so far, with what this pass added.
std::vector<api::StepStatus> merge_steps(const api::VirtualMachineStatus& old, const Plan& plan, const AppliedSteps& applied);

// The root cause, and what could not be undone after it.
std::string failure_message(const AppliedSteps& applied);

}  // namespace banger::reconcilers::virtual_machine
