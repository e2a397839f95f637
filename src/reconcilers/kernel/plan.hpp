// SPDX-License-Identifier: Apache-2.0
// What to do about a Kernel: a pure function of the object and of what was observed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/kernel/observed.hpp"
#include "reconcilers/publish.hpp"

namespace banger::reconcilers::kernel {

struct Plan {
  FinalizerChange finalizer = FinalizerChange::Keep;
  std::vector<PlannedStep> steps;
  // What the status is to say: an initrd only where it is the right one.
  std::string version;
  std::string path;
  std::string initrd;
  std::optional<Error> error;  // the initrd could not be made
  std::vector<Finding> findings;
  std::vector<PlannedEvent> events;
  std::optional<std::chrono::milliseconds> look_again;
  bool operator==(const Plan&) const = default;
};

Plan plan_for(const api::Object& kernel, const Observed& observed);

}  // namespace banger::reconcilers::kernel
