// SPDX-License-Identifier: Apache-2.0
// Waiting for an object to become something, by a watch.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "cli/session.hpp"

namespace banger::cli {

using Deadline = std::chrono::steady_clock::time_point;

// True: this is what was waited for. object null: it does not exist (any more).
using Check = std::function<bool(const api::Object* object)>;

enum class Waited { Done, TimedOut };
Outcome<Waited> wait_for(const api::ObjectKey& key, const Check& check, Deadline deadline, const Session& session);

// The conditions of any kind; empty for kinds without.
const std::vector<api::Condition>& conditions_of(const api::Object& object);
// "Ready is False (GuestBooting): the guest does not answer yet"; what to say when a wait ran out of time.
std::string sentence_of(const api::Object& object, std::string_view condition);

}  // namespace banger::cli
