// SPDX-License-Identifier: Apache-2.0
// What every reconciler does with the store: the teardown finalizer, the status, conditions, events.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/event_sink.hpp"
#include "api/object.hpp"
#include "base/result.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers {

// Set before the first side effect; removed when everything was observed to be gone.
inline constexpr std::string_view kTeardownFinalizer = "banger.dev/teardown";

enum class FinalizerChange { Keep, Add, Remove };

bool has_finalizer(const api::Object& object);

// A condition as a plan says it; generation and time are the publisher's business.
struct Finding {
  std::string type;
  api::ConditionStatus status = api::ConditionStatus::True;
  std::string reason;
  std::string message;
  bool operator==(const Finding&) const = default;
};

struct PlannedEvent {
  api::EventType type = api::EventType::Normal;
  std::string reason;
  std::string message;
  bool operator==(const PlannedEvent&) const = default;
};

// Sets what was found; a condition of our own that is not found any more goes, unless its type is in kept.
void set_findings(std::vector<api::Condition>& conditions, const std::vector<Finding>& findings,
                  const std::vector<std::string_view>& kept, std::uint64_t generation, WallTime now);

Result<void> change_finalizer(store::Objects& objects, const api::Object& object, FinalizerChange change);

// Writes the status of next where it differs from that of before. An object that went meanwhile is no error.
Result<void> write_status(store::Objects& objects, const api::Object& before, const api::Object& next);

void record(api::EventSink& sink, const api::Object& object, const std::vector<PlannedEvent>& events);

// An error backs off; without one, when to look again.
Outcome outcome_of(std::optional<Error> error, std::optional<std::chrono::milliseconds> look_again, std::size_t mutations);
Outcome outcome_of(std::optional<Error> error, std::optional<std::chrono::milliseconds> look_again, const AppliedSteps& applied);

// Times that end up in objects have whole seconds, so that they are equal after a round trip through the store.
WallTime whole_seconds(WallTime time);

// All objects of a kind; an error of the store is an empty list, and the resync finds what was missed.
std::vector<api::Object> list_all(store::Objects& objects, api::Kind kind);

}  // namespace banger::reconcilers
