// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/verified_groups.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <utility>

namespace banger::actuators::vmm {

VerifiedGroups::VerifiedGroups() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

void VerifiedGroups::remember(const std::string& uid, Group group, std::vector<UniqueFd> pidfds) {
  if (pidfds.empty() || !std::ranges::all_of(pidfds, &UniqueFd::valid)) return forget(uid);
  const std::lock_guard lock(mutex_);
  drop(uid);
  const auto id = next_id_++;
  for (const auto& pidfd : pidfds) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, pidfd.get(), &event) != 0) return;
  }
  uids_.emplace(id, uid);
  groups_.emplace(uid, Held{.group = std::move(group), .pidfds = std::move(pidfds), .id = id});
}

void VerifiedGroups::forget(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  drop(uid);
}

void VerifiedGroups::forget_all() {
  const std::lock_guard lock(mutex_);
  groups_.clear();
  uids_.clear();
}

void VerifiedGroups::forget_unless(const std::string& uid, const VmmView& seen) {
  const std::lock_guard lock(mutex_);
  const auto held = groups_.find(uid);
  if (held != groups_.end() && !(held->second.group.view == seen)) drop(uid);
}

void VerifiedGroups::drop(const std::string& uid) {
  const auto held = groups_.find(uid);
  if (held == groups_.end()) return;
  uids_.erase(held->second.id);
  groups_.erase(held);  // closing a pidfd takes it out of the epoll
}

void VerifiedGroups::drop_ended() {
  const std::lock_guard lock(mutex_);
  std::array<epoll_event, 64> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    bool dropped = false;
    for (int i = 0; i < count; ++i) {
      const auto uid = uids_.find(events[static_cast<std::size_t>(i)].data.u64);
      if (uid == uids_.end()) continue;  // closed here, and still open in a child about to execute
      drop(std::string(uid->second));
      dropped = true;
    }
    if (!dropped) return;
  }
}

std::optional<VerifiedGroups::Group> VerifiedGroups::find(const std::string& uid) const {
  const std::lock_guard lock(mutex_);
  const auto held = groups_.find(uid);
  return held == groups_.end() ? std::nullopt : std::optional(held->second.group);
}

}  // namespace banger::actuators::vmm
