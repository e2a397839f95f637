// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "intake/pass.hpp"

namespace banger::intake {
namespace {

std::vector<api::SourceFileStatus> shortened(std::vector<api::SourceFileStatus> rows) {
  if (rows.size() > kMaxListed) std::erase_if(rows, [](const auto& row) { return row.state == "Applied"; });
  if (rows.size() > kMaxListed) rows.resize(kMaxListed);
  return rows;
}

api::Condition ready(const StatusInput& input) {
  api::Condition condition{.type = "Ready", .status = api::ConditionStatus::False};
  condition.observed_generation = input.generation;
  const auto bad = std::ranges::count_if(input.rows, [](const auto& row) { return row.state != "Applied"; });
  if (!input.trouble.empty()) {
    condition.reason = "DirectoryUnavailable";
    condition.message = input.trouble + "; its objects stay as they are";
  } else if (bad > 0) {
    condition.reason = "FilesNotApplied";
    condition.message = fmt::format("{} of {} files not applied, see their rows", bad, input.rows.size());
  } else if (!input.lacks.empty()) {
    condition.reason = "NotWhole";
    condition.message = input.lacks + "; adopt mode goes on until that changes, or until bangerctl gc --confirm";
  } else {
    condition.status = api::ConditionStatus::True;
    condition.reason = "Applied";
    condition.message = fmt::format("{} file{} applied", input.rows.size(), input.rows.size() == 1 ? "" : "s");
  }
  return condition;
}

}  // namespace

std::vector<const api::Object*> owned_by(const std::map<api::ObjectKey, api::Object>& live, const std::string& source) {
  std::vector<const api::Object*> owned;
  for (const auto& [key, object] : live) {
    const auto owner = owner_of(object);
    if (owner && owner->source == source && !object.meta.deletion_time) owned.push_back(&object);
  }
  return owned;
}

api::ManifestSourceStatus status_of(const api::ManifestSourceStatus& old, const StatusInput& input) {
  auto next = old;
  next.observed_generation = input.generation;
  next.files = shortened(input.rows);
  next.prune_token = input.prune.token;
  next.waiting_removals.clear();
  for (const auto& key : input.prune.wait) {
    if (next.waiting_removals.size() < kMaxListed) next.waiting_removals.push_back(api::to_string(key));
  }
  api::set_condition(next.conditions, ready(input), input.now);
  api::set_condition(next.conditions,
                     {.type = "PruneSuspended",
                      .status = input.prune.wait.empty() ? api::ConditionStatus::False : api::ConditionStatus::True,
                      .reason = input.prune.reason,
                      .message = input.prune.message,
                      .observed_generation = input.generation},
                     input.now);
  return next;
}

}  // namespace banger::intake
