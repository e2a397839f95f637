// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/network/plan.hpp"

namespace banger::reconcilers::network {

api::NetworkStatus status_of(const api::Object& network, const Observed& observed, const Plan& plan, const AppliedSteps& applied);

}  // namespace banger::reconcilers::network
