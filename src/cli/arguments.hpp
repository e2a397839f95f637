// SPDX-License-Identifier: Apache-2.0
// KIND, KIND/NAME and durations, as people type them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "cli/session.hpp"

namespace banger::cli {

// Kind, plural, singular or short name in any case; "sources" and "leases" too. The failure suggests the nearest one.
Outcome<const api::KindInfo*> find_kind(std::string_view word);

struct Named {
  const api::KindInfo* kind = nullptr;
  std::string name;  // empty: all of the kind
};

// "vm", "vm web db", "vm/web network/default", "vm,networks". Names and whole kinds are not mixed.
Outcome<std::vector<Named>> parse_resources(const std::vector<std::string>& words);
// The same, but every one has a name.
Outcome<std::vector<Named>> parse_objects(const std::vector<std::string>& words, std::string_view verb);

// What `start`, `logs` and the like take: "web", "vm/web", or "virtualmachine/web" as bangerctl prints it.
Outcome<std::string> vm_name(std::string_view word);

// The object in the namespace of -n, where its kind has one.
api::ObjectKey key_of(const Named& named, const Session& session);

// "90s", "5m", "1h30m", "250ms", "0": a Go duration.
Outcome<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace banger::cli
