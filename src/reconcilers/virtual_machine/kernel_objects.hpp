// SPDX-License-Identifier: Apache-2.0
// What there is of a VM on the host, kernel object by kernel object, beside what should be.
#pragma once

#include <vector>

#include "api/object.hpp"
#include "reconcilers/virtual_machine/plan.hpp"

namespace banger::reconcilers::virtual_machine {

// Only from what this pass observed: what a step has just made or removed is seen by the pass after it.
std::vector<api::KernelObjectStatus> kernel_objects(const api::Object& vm, const Observed& observed, const Plan& plan);

}  // namespace banger::reconcilers::virtual_machine
