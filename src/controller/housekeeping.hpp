// SPDX-License-Identifier: Apache-2.0
// Keeps the store from growing without end: old changes are compacted, old and surplus events removed.
#pragma once

#include <chrono>
#include <deque>
#include <utility>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "store/objects.hpp"

namespace banger::controller {

struct HousekeepingOptions {
  std::chrono::milliseconds compaction_period{300'000};
  store::Revision kept_revisions = 10'000;         // the changelog keeps at least this many …
  std::chrono::milliseconds kept_time{3'600'000};  // … and whatever is younger than this
  std::chrono::milliseconds event_period{60'000};
  std::chrono::milliseconds event_ttl{3'600'000};  // since its last repeat
  std::size_t max_events = 2'000;
  std::size_t max_events_an_object = 50;
};

// Not thread-safe: one timer calls it. How old a revision is, it knows only from its own calls; after a restart nothing is
// compacted before kept_time has passed.
class Housekeeping {
 public:
  Housekeeping(const HousekeepingOptions& options, store::Objects& objects, Clock& clock)
      : options_(options), objects_(objects), clock_(clock) {}

  // Returns the revision compacted to, 0 when there was nothing to do.
  Result<store::Revision> compact();

  // The oldest go first. Returns how many were removed.
  Result<std::size_t> expire_events();

 private:
  const HousekeepingOptions options_;
  store::Objects& objects_;
  Clock& clock_;
  std::deque<std::pair<SteadyTime, store::Revision>> seen_;  // oldest first
};

}  // namespace banger::controller
