// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/apply.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

namespace banger::reconcilers {
namespace {

// Asking a guest whether it answers, or dropping the answer, leaves the host as it is: a quiet host counts no mutations.
bool changes_host(const actuators::Step& step) {
  if (std::holds_alternative<actuators::ForgetJob>(step)) return false;
  const auto* job = std::get_if<actuators::StartJob>(&step);
  return job == nullptr || !std::holds_alternative<actuators::ProbeSsh>(job->spec);
}

void count(AppliedSteps& result, const actuators::Step& step, actuators::Applied applied) {
  if (applied != actuators::Applied::Changed || !changes_host(step)) return;
  ++result.mutations;
  result.changed.push_back(actuators::name_of(step));
}

void undo(actuators::Host& host, const std::vector<PlannedStep>& steps, std::size_t failed, AppliedSteps& result) {
  std::vector<actuators::Step> done;
  for (std::size_t i = failed + 1; i-- > 0;) {
    for (const auto& step : steps[i].undo) {
      if (std::ranges::find(done, step) != done.end()) continue;
      done.push_back(step);
      const auto applied = host.apply(step);
      if (applied) count(result, step, *applied);
      if (applied) continue;
      result.undo_errors.push_back(fmt::format("{}: {}", actuators::describe(step), applied.error().message));
      if (applied.error().code == ErrorCode::Busy) return;
    }
    if (i < failed && !steps[i].undo.empty()) result.steps[i].state = "Undone";
  }
}

}  // namespace

AppliedSteps apply_steps(actuators::Host& host, Clock& clock, const std::vector<PlannedStep>& steps) {
  AppliedSteps result;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto start = clock.steady();
    const auto applied = host.apply(steps[i].step);
    const auto duration = clock.steady() - start;
    if (!applied && !steps[i].told_in.empty()) {
      result.passed_over.push_back({.condition = steps[i].told_in, .message = applied.error().message});
      result.steps.push_back(
          {.name = steps[i].name, .state = "Failed", .duration = duration, .message = applied.error().message});
      continue;
    }
    if (!applied) {
      result.error = with_context(applied.error(), actuators::describe(steps[i].step));
      result.failed = steps[i].name;
      result.steps.push_back(
          {.name = steps[i].name, .state = "Failed", .duration = duration, .message = applied.error().message});
      undo(host, steps, i, result);
      return result;
    }
    count(result, steps[i].step, *applied);
    result.steps.push_back({.name = steps[i].name, .state = "Done", .duration = duration, .message = ""});
  }
  return result;
}

}  // namespace banger::reconcilers
