// SPDX-License-Identifier: Apache-2.0
// Carries out a VM's plan: store and host in the plan's order, stopping at the first failure.
#pragma once

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/reconciler.hpp"
#include "reconcilers/virtual_machine/plan.hpp"

namespace banger::reconcilers::virtual_machine {

AppliedSteps carry_out(Ports& ports, const api::Object& vm, const Plan& plan);

// The plan's events where it went well, and what went wrong where it did not.
void record_events(Ports& ports, const api::Object& vm, const Plan& plan, const AppliedSteps& applied);

}  // namespace banger::reconcilers::virtual_machine
