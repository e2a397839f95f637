// SPDX-License-Identifier: Apache-2.0
// What to do about an Image: a pure function of the object and of what was observed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "actuators/built_image.hpp"
#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/image/observed.hpp"
#include "reconcilers/publish.hpp"

namespace banger::reconcilers::image {

struct Plan {
  FinalizerChange finalizer = FinalizerChange::Keep;
  std::vector<PlannedStep> steps;
  std::string source;                          // what status.source is to say
  std::optional<actuators::BuiltImage> built;  // a build that has ended: what the status is to say from now on
  std::optional<Error> error;                  // a build failed in a way that may pass
  std::vector<Finding> findings;
  std::vector<PlannedEvent> events;
  std::optional<std::chrono::milliseconds> look_again;
  bool operator==(const Plan&) const = default;
};

Plan plan_for(const api::Object& image, const Observed& observed);

}  // namespace banger::reconcilers::image
