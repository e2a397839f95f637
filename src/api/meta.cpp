// SPDX-License-Identifier: Apache-2.0
#include "api/meta.hpp"

#include <algorithm>
#include <utility>

namespace banger::api {

const Condition* find_condition(const std::vector<Condition>& conditions, std::string_view type) {
  const auto found = std::ranges::find(conditions, type, &Condition::type);
  return found == conditions.end() ? nullptr : &*found;
}

void set_condition(std::vector<Condition>& conditions, Condition next, WallTime now) {
  const auto found = std::ranges::find(conditions, next.type, &Condition::type);
  if (found == conditions.end()) {
    next.last_transition_time = now;
    conditions.push_back(std::move(next));
    return;
  }
  const bool same = found->status == next.status && found->last_transition_time;
  next.last_transition_time = same ? found->last_transition_time : std::optional(now);
  *found = std::move(next);
}

}  // namespace banger::api
