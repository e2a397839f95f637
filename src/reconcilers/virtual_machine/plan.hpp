// SPDX-License-Identifier: Apache-2.0
// What to do about a VirtualMachine: a pure function of the object and of what was observed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/publish.hpp"
#include "reconcilers/virtual_machine/observed.hpp"

namespace banger::reconcilers::virtual_machine {

// Which pipeline the steps belong to; status.steps shows the latest one.
enum class Operation { None, Start, Stop };

// Carried out in this order: the finalizer is added, addresses are claimed, steps applied, addresses released, the finalizer
// removed. Each only if all before it went well.
struct Plan {
  Operation operation = Operation::None;
  std::string phase;
  FinalizerChange finalizer = FinalizerChange::Keep;
  std::vector<api::AddressLeaseSpec> claims;
  std::vector<PlannedStep> steps;
  std::vector<api::AddressLeaseSpec> releases;
  std::vector<api::StepStatus> progress;  // of jobs, as observed
  std::vector<Finding> findings;          // Ready and Running are always among them
  std::vector<api::PendingChange> pending;
  std::vector<PlannedEvent> events;  // recorded when the steps went well
  std::optional<Error> error;        // a job failed: look again with backoff
  std::optional<std::chrono::milliseconds> look_again;
  bool operator==(const Plan&) const = default;
};

Plan plan_for(const api::Object& vm, const Context& context, const actuators::VmView& host);
inline Plan plan_for(const api::Object& vm, const Observed& observed) { return plan_for(vm, observed, observed.host); }

}  // namespace banger::reconcilers::virtual_machine
