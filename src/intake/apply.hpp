// SPDX-License-Identifier: Apache-2.0
// One declared object's way into the store, as a pure decision: create it, change it, leave it, or say why not.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"
#include "api/object.hpp"

namespace banger::intake {

// With api::kLastApplied, what the next pass must know; both survive the daemon.
using api::kSourceAnnotation;

// Whose an object is: the file of a source, or nobody's (made through the API).
struct Owner {
  std::string source;
  std::string file;
  bool operator==(const Owner&) const = default;
};
std::string to_string(const Owner& owner);
std::optional<Owner> owner_of(const api::Object& object);

enum class ApplyAction {
  Nothing,  // the object is what the manifest made of it, edits through the API since then included
  Create,
  Update,
  Wait,    // it is being deleted; it is made anew when it is gone
  Refuse,  // refusals say why
};

struct ApplyPlan {
  ApplyAction action = ApplyAction::Nothing;
  api::Object object;                  // Create, Update: what to write; Update carries the version it was read at
  std::vector<api::Refusal> refusals;  // Refuse
};

// Who may own the object was decided before: here the owner becomes `owner` whatever it was. Nothing is compared with the live
// object's fields: only a manifest that says something else than it said last time changes it, so that `bangerctl stop` of a VM
// from a file stays until its file changes. A new owner with the same text changes the annotation alone. An object made through
// the API is taken over as `kubectl apply` would: what the manifest says wins, the rest stays.
ApplyPlan plan_apply(const api::ManifestDocument& document, const std::optional<api::Object>& live, const Owner& owner);

}  // namespace banger::intake
