// SPDX-License-Identifier: Apache-2.0
// Runs the steps of a plan in order, and undoes what they acquired when one fails.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/step.hpp"
#include "api/virtual_machine.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"

namespace banger::reconcilers {

struct PlannedStep {
  std::string name;  // for people, one of a plan: "RootDisk", "Tap/0"
  actuators::Step step;
  std::vector<actuators::Step> undo;  // in this order, when this step or a later one of the plan fails
  std::string told_in{};              // the condition that tells when it fails, and the plan goes on; empty: that ends the plan
  bool operator==(const PlannedStep&) const = default;
};

struct PassedOver {
  std::string condition;
  std::string message;
};

struct AppliedSteps {
  std::vector<api::StepStatus> steps;     // those that were tried
  std::size_t mutations = 0;              // that answered Changed, undo included
  std::vector<std::string_view> changed;  // their names: name_of(step), one for each
  std::optional<Error> error;             // the root cause
  std::string failed;                     // name of the step it came from
  std::vector<std::string> undo_errors;
  std::vector<PassedOver> passed_over;  // failures that did not end the plan
};

// Stops at the first failure and undoes in reverse order, the failing step included. An undo that answers Busy (something still
// lives) ends the undoing: what is left is the next plan's business.
AppliedSteps apply_steps(actuators::Host& host, Clock& clock, const std::vector<PlannedStep>& steps);

}  // namespace banger::reconcilers
