// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/kernel/plan.hpp"

namespace banger::reconcilers::kernel {

api::KernelStatus status_of(const api::Object& kernel, const Observed& observed, const Plan& plan, const AppliedSteps& applied);

}  // namespace banger::reconcilers::kernel
