// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/image/plan.hpp"

namespace banger::reconcilers::image {

api::ImageStatus status_of(const api::Object& image, const Observed& observed, const Plan& plan, const AppliedSteps& applied);

}  // namespace banger::reconcilers::image
