// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/publish.hpp"

#include <algorithm>

namespace banger::reconcilers {

bool has_finalizer(const api::Object& object) {
  return std::ranges::find(object.meta.finalizers, kTeardownFinalizer) != object.meta.finalizers.end();
}

void set_findings(std::vector<api::Condition>& conditions, const std::vector<Finding>& findings,
                  const std::vector<std::string_view>& kept, std::uint64_t generation, WallTime now) {
  std::erase_if(conditions, [&](const api::Condition& condition) {
    const bool found = std::ranges::any_of(findings, [&](const Finding& finding) { return finding.type == condition.type; });
    return !found && std::ranges::find(kept, condition.type) == kept.end();
  });
  for (const auto& finding : findings) {
    api::Condition next{.type = finding.type,
                        .status = finding.status,
                        .reason = finding.reason,
                        .message = finding.message,
                        .observed_generation = generation,
                        .last_transition_time = {}};
    api::set_condition(conditions, std::move(next), whole_seconds(now));
  }
}

Result<void> change_finalizer(store::Objects& objects, const api::Object& object, FinalizerChange change) {
  if (change == FinalizerChange::Keep) return {};
  const auto uid = object.meta.uid;
  const auto written = objects.edit(api::key_of(object), [&](api::Object& current) -> Result<void> {
    if (current.meta.uid != uid) return fail(not_found("the object was replaced by another of its name"));
    auto& finalizers = current.meta.finalizers;
    std::erase(finalizers, std::string(kTeardownFinalizer));
    if (change == FinalizerChange::Add) finalizers.emplace_back(kTeardownFinalizer);
    return {};
  });
  if (written || written.error().error.code == ErrorCode::NotFound) return {};
  return fail(with_context(written.error().error, "writing the finalizer"));
}

Result<void> write_status(store::Objects& objects, const api::Object& before, const api::Object& next) {
  if (next.body == before.body) return {};
  api::Object write = next;
  write.meta.resource_version = 0;  // only we write the status; a spec that changed meanwhile is looked at next
  const auto written = objects.update_status(write);
  if (written) return {};
  const auto code = written.error().error.code;
  // Gone, or another object of that name stands there now (the uid differs): nothing to say any more.
  if (code == ErrorCode::NotFound) return {};
  return fail(with_context(written.error().error, "writing the status"));
}

void record(api::EventSink& sink, const api::Object& object, const std::vector<PlannedEvent>& events) {
  for (const auto& event : events) sink.record(api::key_of(object), object.meta.uid, event.type, event.reason, event.message);
}

Outcome outcome_of(std::optional<Error> error, std::optional<std::chrono::milliseconds> look_again, std::size_t mutations) {
  Outcome outcome;
  outcome.mutations = mutations;
  if (error) {
    outcome.error = std::move(error);
  } else {
    outcome.requeue_after = look_again;
  }
  return outcome;
}

Outcome outcome_of(std::optional<Error> error, std::optional<std::chrono::milliseconds> look_again, const AppliedSteps& applied) {
  auto outcome = outcome_of(std::move(error), look_again, applied.mutations);
  outcome.changed = applied.changed;
  return outcome;
}

WallTime whole_seconds(WallTime time) { return std::chrono::floor<std::chrono::seconds>(time); }

std::vector<api::Object> list_all(store::Objects& objects, api::Kind kind) {
  auto listing = objects.store().list({.kind = kind, .ns = std::nullopt});
  if (!listing) return {};
  return std::move(listing->objects);
}

}  // namespace banger::reconcilers
