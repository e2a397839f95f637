// SPDX-License-Identifier: Apache-2.0
// The changes, in memory, and who watches them. All watchers share one ring and keep only their own place in it, so a slow one
// costs no more than what it has yet to read and is cut when it has fallen too far behind; a writer never waits for any. What
// every watcher has read goes; who begins to watch from before that is served from the changelog.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "store/store.hpp"
#include "store/table.hpp"

namespace banger::store {

inline constexpr Revision kWatchLag = 4096;  // changes a watcher may be behind once it has caught up

// Changes older than the ring, from where they are kept.
struct Scanned {
  std::vector<Change> changes;  // that match
  Revision upto = 0;            // everything after query.after and up to this was looked at; more than query.after
};

class FeedWatch;

class Feed : public std::enable_shared_from_this<Feed> {
 public:
  // At most max changes that match query, none beyond last. Called without a lock, by the threads of the watchers.
  using History = std::function<Result<Scanned>(const WatchQuery& query, Revision last, std::size_t max)>;

  // The memory store keeps every change in the ring until it is compacted; history may then be empty.
  enum class Keep { Ring, Everything };
  Feed(Keep keep, History history) : keep_(keep), history_(std::move(history)) {}

  void start(Revision revision, Revision compacted);  // once, before any watcher
  void publish(std::span<const Edit> edits);
  void publish(std::vector<Change> changes);  // found in the changelog after a reopen
  void compact(Revision revision);
  void close();  // watchers get Unavailable from now on

  Result<std::unique_ptr<Watch>> watch(const WatchQuery& query);
  Revision compacted();

 private:
  friend class FeedWatch;
  struct Entry {
    Revision revision = 0;
    ChangeType type = ChangeType::Added;
    ObjectPtr object;
    ObjectPtr previous;
  };

  void add(Entry entry);  // with mutex_ held
  void trim();            // likewise: lets go of what everybody has read, but for the last few

  const Keep keep_;
  const History history_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> ring_;  // consecutive revisions, the last is revision_
  std::set<const FeedWatch*> watchers_;
  Revision revision_ = 0;
  Revision compacted_ = 0;
  bool closed_ = false;
};

}  // namespace banger::store
