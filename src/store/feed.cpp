// SPDX-License-Identifier: Apache-2.0
#include "store/feed.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace banger::store {

namespace {

constexpr std::size_t kKept = 256;  // changes, for who begins to watch shortly behind

Error compacted_error(Revision after, Revision compacted) {
  return {ErrorCode::Gone,
          fmt::format("changes after revision {} are no longer kept: compacted up to {}; list again", after, compacted)};
}

}  // namespace

class FeedWatch final : public Watch {
 public:
  // With the feed's lock.
  FeedWatch(std::shared_ptr<Feed> feed, const WatchQuery& query)
      : feed_(std::move(feed)), kind_(query.kind), place_(query.after) {
    feed_->watchers_.insert(this);
  }
  FeedWatch(const FeedWatch&) = delete;
  FeedWatch& operator=(const FeedWatch&) = delete;
  ~FeedWatch() override {
    const std::scoped_lock lock(feed_->mutex_);
    feed_->watchers_.erase(this);
  }

  Result<std::vector<Change>> next(std::size_t max, std::chrono::milliseconds timeout) override;
  Revision delivered() const override { return place_; }
  void wake() override;

 private:
  friend class Feed;
  Result<void> check();                                       // with the lock: may this watcher go on?
  std::vector<Feed::Entry> take(std::size_t max);             // with the lock: matching entries of the ring; moves place_
  [[nodiscard]] bool in_ring() const;                         // with the lock
  Result<Scanned> look_back(std::size_t max, Revision last);  // without

  const std::shared_ptr<Feed> feed_;
  const std::optional<api::Kind> kind_;
  Revision place_;
  bool live_ = false;   // was within reach of the ring once: from then on it may not fall out of it
  bool woken_ = false;  // under the feed's lock
};

Result<void> FeedWatch::check() {
  if (feed_->closed_) return fail({ErrorCode::Unavailable, "the store was closed"});
  if (place_ < feed_->compacted_) return fail(compacted_error(place_, feed_->compacted_));
  const Revision behind = feed_->revision_ - place_;
  if (live_ && behind > kWatchLag) {
    return fail({ErrorCode::Gone, fmt::format("the watch fell {} changes behind revision {}, more than {}; list again", behind,
                                              feed_->revision_, kWatchLag)});
  }
  live_ = live_ || behind <= kWatchLag;
  return {};
}

bool FeedWatch::in_ring() const { return !feed_->ring_.empty() && feed_->ring_.front().revision <= place_ + 1; }

std::vector<Feed::Entry> FeedWatch::take(std::size_t max) {
  std::vector<Feed::Entry> taken;
  const auto& ring = feed_->ring_;
  for (auto i = static_cast<std::size_t>(place_ + 1 - ring.front().revision); i < ring.size() && taken.size() < max; ++i) {
    place_ = ring[i].revision;
    if (!kind_ || api::kind_of(*ring[i].object) == *kind_) taken.push_back(ring[i]);
  }
  return taken;
}

Result<Scanned> FeedWatch::look_back(std::size_t max, Revision last) {
  if (!feed_->history_) return fail(internal(fmt::format("change {} is not in memory", place_ + 1)));
  return feed_->history_({.kind = kind_, .after = place_}, last, max);
}

Result<std::vector<Change>> FeedWatch::next(std::size_t max, std::chrono::milliseconds timeout) {
  max = std::max<std::size_t>(max, 1);
  const auto deadline =
      std::chrono::steady_clock::now() + std::clamp<std::chrono::milliseconds>(timeout, {}, std::chrono::hours{24});
  std::unique_lock lock(feed_->mutex_);
  for (bool expired = false;;) {
    BGR_CHECK(check());
    if (place_ < feed_->revision_ && !in_ring()) {
      const Revision last = feed_->ring_.empty() ? feed_->revision_ : feed_->ring_.front().revision - 1;
      lock.unlock();
      auto found = look_back(max, last);
      lock.lock();
      if (!found && place_ < feed_->compacted_) return fail(compacted_error(place_, feed_->compacted_));
      if (!found) return fail(std::move(found).error());
      place_ = found->upto;
      if (!found->changes.empty()) return std::move(found->changes);
      continue;
    }
    if (place_ < feed_->revision_) {
      const auto taken = take(max);
      if (place_ == feed_->revision_) feed_->trim();
      if (taken.empty()) continue;
      lock.unlock();  // objects are copied outside
      std::vector<Change> out;
      out.reserve(taken.size());
      for (const auto& entry : taken) {
        out.push_back({.revision = entry.revision, .type = entry.type, .object = *entry.object, .previous = std::nullopt});
        if (entry.previous != nullptr) out.back().previous = *entry.previous;
      }
      return out;
    }
    if (std::exchange(woken_, false)) return std::vector<Change>{};
    if (expired) return std::vector<Change>{};
    expired = timeout.count() <= 0 || feed_->changed_.wait_until(lock, deadline) == std::cv_status::timeout;
  }
}

void FeedWatch::wake() {
  const std::scoped_lock lock(feed_->mutex_);
  woken_ = true;
  feed_->changed_.notify_all();
}

void Feed::start(Revision revision, Revision compacted) {
  const std::scoped_lock lock(mutex_);
  revision_ = revision;
  compacted_ = compacted;
}

void Feed::add(Entry entry) {
  revision_ = entry.revision;
  ring_.push_back(std::move(entry));
  if (keep_ == Keep::Ring && ring_.size() > kWatchLag) ring_.pop_front();
}

void Feed::trim() {
  if (keep_ != Keep::Ring || ring_.size() <= kKept) return;
  Revision read = revision_;
  for (const auto* watcher : watchers_) {
    if (watcher->live_) read = std::min(read, watcher->place_);
  }
  while (ring_.size() > kKept && ring_.front().revision <= read) ring_.pop_front();
}

void Feed::publish(std::span<const Edit> edits) {
  const std::scoped_lock lock(mutex_);
  for (const auto& edit : edits) {
    add({.revision = edit.revision, .type = edit.type, .object = edit.object, .previous = edit.previous});
  }
  trim();
  changed_.notify_all();
}

void Feed::publish(std::vector<Change> changes) {
  const std::scoped_lock lock(mutex_);
  for (auto& change : changes) {
    add({.revision = change.revision,
         .type = change.type,
         .object = std::make_shared<api::Object>(std::move(change.object)),
         .previous = change.previous ? std::make_shared<api::Object>(*std::move(change.previous)) : nullptr});
  }
  changed_.notify_all();
}

void Feed::compact(Revision revision) {
  const std::scoped_lock lock(mutex_);
  compacted_ = std::max(compacted_, revision);
  while (!ring_.empty() && ring_.front().revision <= compacted_) ring_.pop_front();
  changed_.notify_all();
}

void Feed::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

Revision Feed::compacted() {
  const std::scoped_lock lock(mutex_);
  return compacted_;
}

Result<std::unique_ptr<Watch>> Feed::watch(const WatchQuery& query) {
  const std::scoped_lock lock(mutex_);
  if (query.after > revision_) {
    return fail(invalid(fmt::format("revision {} is in the future: the current one is {}", query.after, revision_)));
  }
  if (query.after < compacted_) return fail(compacted_error(query.after, compacted_));
  return std::make_unique<FeedWatch>(shared_from_this(), query);
}

}  // namespace banger::store
