// SPDX-License-Identifier: Apache-2.0
// bangerctl wait: until a condition holds, or until an object is gone.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/verbs.hpp"
#include "cli/wait_for.hpp"

namespace banger::cli {
namespace {

constexpr std::chrono::milliseconds kAskAgain{200};

struct Goal {
  enum class What { Created, Gone, Condition } what = What::Condition;
  std::string condition;
  api::ConditionStatus status = api::ConditionStatus::True;
};

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

Outcome<Goal> parse_goal(std::string_view text) {
  if (text == "delete") return Goal{.what = Goal::What::Gone};
  if (text == "create") return Goal{.what = Goal::What::Created};
  constexpr std::string_view kPrefix = "condition=";
  const auto wrong = [whole = text] {
    return give_up(usage(fmt::format("--for={}: expected condition=TYPE, condition=TYPE=True|False|Unknown, create, or delete",
                                     printable(whole))));
  };
  if (!text.starts_with(kPrefix)) return wrong();
  text.remove_prefix(kPrefix.size());
  const auto equals = text.find('=');
  Goal goal{.condition = std::string(text.substr(0, equals))};
  if (goal.condition.empty()) return wrong();
  if (equals == std::string_view::npos) return goal;
  const auto status = text.substr(equals + 1);
  if (same_word(status, "False")) {
    goal.status = api::ConditionStatus::False;
  } else if (same_word(status, "Unknown")) {
    goal.status = api::ConditionStatus::Unknown;
  } else if (!same_word(status, "True")) {
    return wrong();
  }
  return goal;
}

// What a condition says counts only if it speaks of the spec as it is now.
bool holds(const Goal& goal, const api::Object& object) {
  return std::ranges::any_of(conditions_of(object), [&](const api::Condition& condition) {
    return same_word(condition.type, goal.condition) && condition.status == goal.status &&
           (condition.observed_generation == 0 || condition.observed_generation >= object.meta.generation);
  });
}

std::string_view outcome_of(const Goal& goal) {
  switch (goal.what) {
    case Goal::What::Created:
      return "is there";
    case Goal::What::Gone:
      return "is gone";
    case Goal::What::Condition:
      break;
  }
  return "condition met";
}

Outcome<> wait_for_one(const Named& named, const Goal& goal, const WaitOptions& options, Deadline deadline,
                       const Session& session) {
  const auto key = key_of(named, session);
  const auto shown = fmt::format("{}/{}", named.kind->singular, printable(named.name));
  std::string last;
  bool vanished = false;
  const auto check = [&](const api::Object* object) {
    if (object == nullptr) {
      last = "it is not there yet";
      vanished = goal.what == Goal::What::Condition;
      return goal.what != Goal::What::Created;
    }
    last = goal.what == Goal::What::Gone ? "it is still there" : sentence_of(*object, goal.condition);
    return goal.what == Goal::What::Created || (goal.what == Goal::What::Condition && holds(goal, *object));
  };
  auto waited = wait_for(key, check, deadline, session);
  // What is still to be made may come with the daemon: a script that has just started it need not wait for its socket by itself.
  while (!waited && goal.what == Goal::What::Created && waited.error().exit_code == kExitUnreachable &&
         std::chrono::steady_clock::now() + kAskAgain < deadline) {
    std::this_thread::sleep_for(kAskAgain);
    waited = wait_for(key, check, deadline, session);
  }
  if (!waited) return give_up(waited.error());
  if (vanished) return give_up(failure_of({ErrorCode::NotFound, ""}, key));
  if (*waited == Waited::TimedOut) {
    return give_up({kExitTimeout, fmt::format("waited {} s for {} of {} in vain: {}; look with: bangerctl describe {} {}",
                                              options.timeout.count() / 1000, printable(options.what), shown, last,
                                              named.kind->singular, printable(named.name))});
  }
  print_line(fmt::format("{} {}", shown, outcome_of(goal)));
  flush_output();
  return {};
}

}  // namespace

Outcome<> wait(const WaitOptions& options, const Session& session) {
  const auto goal = parse_goal(options.what);
  if (!goal) return give_up(goal.error());
  const auto objects = parse_objects(options.words, "wait");
  if (!objects) return give_up(objects.error());
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  for (const auto& named : *objects) {
    if (auto waited = wait_for_one(named, *goal, options, deadline, session); !waited) return waited;
  }
  return {};
}

}  // namespace banger::cli
