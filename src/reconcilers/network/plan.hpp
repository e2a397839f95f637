// SPDX-License-Identifier: Apache-2.0
// What to do about a Network: a pure function of the object and of what was observed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/network/observed.hpp"
#include "reconcilers/publish.hpp"

namespace banger::reconcilers::network {

struct Plan {
  FinalizerChange finalizer = FinalizerChange::Keep;
  // What the status is to say before anything is made by it.
  std::string cidr;
  std::string gateway;
  std::string bridge;
  std::vector<PlannedStep> steps;
  std::vector<Finding> findings;
  std::vector<PlannedEvent> events;
  std::optional<std::chrono::milliseconds> look_again;
  bool operator==(const Plan&) const = default;
};

Plan plan_for(const api::Object& network, const Observed& observed);

}  // namespace banger::reconcilers::network
