// SPDX-License-Identifier: Apache-2.0
#include "intake/prune_guard.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "api/object.hpp"
#include "base/fnv1a.hpp"

namespace banger::intake {
namespace {

// What a confirmation is for: these very objects, missing from this very directory.
std::string digest(const PruneInput& input, const std::set<api::ObjectKey>& waiting) {
  std::uint64_t hash = fnv1a_field(kFnv1aStart, input.identity);
  for (const auto& key : waiting) {
    hash = fnv1a_field(hash, api::to_string(key));
    hash = fnv1a_field(hash, input.undeclared.at(key));
  }
  return fmt::format("{:016x}", hash);
}

void explain(const PruneInput& input, PruneDecision& decision) {
  const auto what = fmt::format("{} object{} of this directory {} declared by no file", decision.wait.size(),
                                decision.wait.size() == 1 ? "" : "s", decision.wait.size() == 1 ? "is" : "are");
  const std::string how = "; to let them go: bangerctl sources confirm";
  if (input.held && (input.directory == DirectoryState::Same || input.directory == DirectoryState::Replaced)) {
    decision.reason = "AdoptMode";
    decision.message = fmt::format("objects came back from records after the database was lost, and {}{}", what, how);
    return;
  }
  switch (input.directory) {
    case DirectoryState::Same:
      decision.reason = "TooMany";
      decision.message =
          fmt::format("{}, more than the {} of {} that go at once{}", what, prune_limit(input.owned), input.owned, how);
      return;
    case DirectoryState::Replaced:
      decision.reason = "DirectoryReplaced";
      decision.message = fmt::format("the directory is not the one that was read before, and {}{}", what, how);
      return;
    case DirectoryState::Missing:
      decision.reason = "DirectoryMissing";
      decision.message = fmt::format("the directory is not there, so {}{}", what, how);
      return;
    case DirectoryState::Unreadable:
      decision.reason = "DirectoryUnreadable";
      decision.message = fmt::format("the directory cannot be read, so {}{}", what, how);
      return;
  }
}

}  // namespace

std::size_t prune_limit(std::size_t owned) { return std::max<std::size_t>(2, owned / 5); }

PruneDecision decide_prune(const PruneInput& input) {
  PruneDecision decision;
  std::set<api::ObjectKey> fresh;
  for (const auto& [key, uid] : input.undeclared) {
    if (input.waiting.contains(key)) {
      decision.wait.insert(key);
    } else {
      fresh.insert(key);
    }
  }
  if (input.directory == DirectoryState::Same && !input.held && fresh.size() <= prune_limit(input.owned)) {
    decision.remove = std::move(fresh);
  } else {
    decision.wait.merge(fresh);
  }
  if (!decision.wait.empty()) {
    const auto prefix = digest(input, decision.wait);
    decision.token = input.token.starts_with(prefix + "-") ? input.token : fmt::format("{}-{:x}", prefix, input.now_ms);
    if (decision.token == input.confirmed_token) {
      decision.remove.merge(decision.wait);
      decision.wait.clear();
      decision.token.clear();
    }
  }
  if (decision.wait.empty()) {
    decision.reason = "NothingWaits";
    decision.message = "every removal was carried out";
  } else {
    explain(input, decision);
  }
  return decision;
}

}  // namespace banger::intake
