// SPDX-License-Identifier: Apache-2.0
#include "controller/housekeeping.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace banger::controller {
namespace {

WallTime last_seen(const api::Object& object) {
  const auto* event = std::get_if<api::Event>(&object.body);
  if (event != nullptr && event->last_time) return *event->last_time;
  return object.meta.creation_time.value_or(WallTime{});
}

}  // namespace

Result<store::Revision> Housekeeping::compact() {
  auto& store = objects_.store();
  const auto now = clock_.steady();
  const auto current = store.revision();
  seen_.emplace_back(now, current);
  store::Revision old = 0;  // the newest revision that is known to be at least kept_time old
  while (!seen_.empty() && seen_.front().first + options_.kept_time <= now) {
    old = seen_.front().second;
    seen_.pop_front();
  }
  if (old == 0 || current <= options_.kept_revisions) return 0;
  const auto target = std::min(old, current - options_.kept_revisions);
  if (target <= store.compacted()) return 0;
  BGR_CHECK(store.compact(target));
  return target;
}

Result<std::size_t> Housekeeping::expire_events() {
  BGR_TRY(auto listing, objects_.store().list({.kind = api::Kind::Event}));
  auto& events = listing.objects;
  std::ranges::stable_sort(events, std::ranges::greater{}, last_seen);  // newest first: what is kept is met before what goes
  const auto oldest_kept = clock_.wall() - options_.event_ttl;
  std::map<std::pair<api::ObjectKey, std::string>, std::size_t> of_object;
  std::size_t kept = 0;
  std::size_t removed = 0;
  for (const auto& object : events) {
    const auto* event = std::get_if<api::Event>(&object.body);
    if (event == nullptr) continue;
    auto& siblings = of_object[{event->involved, event->involved_uid}];
    if (last_seen(object) > oldest_kept && kept < options_.max_events && siblings < options_.max_events_an_object) {
      ++kept;
      ++siblings;
      continue;
    }
    const auto gone = objects_.store().remove(api::key_of(object), object.meta.resource_version);
    if (gone) {
      ++removed;
    } else if (gone.error().code != ErrorCode::Conflict && gone.error().code != ErrorCode::NotFound) {
      return fail(gone.error());  // repeated or removed just now is fine; anything else is for the next time
    }
  }
  return removed;
}

}  // namespace banger::controller
