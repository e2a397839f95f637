// SPDX-License-Identifier: Apache-2.0
// What both stores share: the objects in memory that answer reads, compare-and-set, group commit and the feed of changes. A
// subclass makes batches durable.
//
// Order of a batch: decide every write against the state and the writes before it; make the edits durable; then, under one
// exclusive lock, change the state and publish. So no reader and no watcher sees what a power cut could take back, and a watcher
// that was told of a change reads a state that has it.
#pragma once

#include <shared_mutex>
#include <span>

#include "store/feed.hpp"
#include "store/group_commit.hpp"
#include "store/store.hpp"
#include "store/table.hpp"

namespace banger::store {

inline constexpr std::size_t kMaxObjectBytes = 1536U << 10U;  // of its JSON; what etcd takes for one request

class CachedStore : public Store {
 public:
  Result<api::Object> get(const api::ObjectKey& key) final;
  Result<Listing> list(const ListQuery& query) final;
  Result<api::Object> create(const api::Object& object) final;
  Result<api::Object> update(const api::Object& object) final;
  Result<api::Object> remove(const api::ObjectKey& key, std::optional<Revision> expected) final;
  Revision revision() final;
  Revision compacted() final;
  Result<std::unique_ptr<Watch>> watch(const WatchQuery& query) final;
  Result<void> compact(Revision revision) final;

  // As list(), but nothing is copied: 1 000 VMs take 0.1 ms to look at and 10 ms to copy.
  Revision visit(const ListQuery& query, const std::function<void(const api::Object&)>& see);
  Revision last_change(api::Kind kind);

 protected:
  // Objects: nothing is encoded, for many short lives in memory; what a database does not keep is cut off by the subclass, and
  // edits have no text.
  enum class Form { Text, Objects };
  CachedStore(Feed::Keep keep, Feed::History history, Form form = Form::Text);
  ~CachedStore() override { feed_->close(); }

  // These are called by one thread at a time, and may use table() freely; nothing changes it meanwhile.
  virtual Result<void> ready() { return {}; }  // before a batch is decided; an error is every writer's answer
  virtual void normalise(api::Object&) {}      // with Form::Objects: as a restart would read it back
  virtual Result<void> persist(std::span<const Edit> edits) = 0;
  virtual Result<void> persist_compaction(Revision revision) = 0;
  const Table& table() const { return table_; }
  Feed& feed() { return *feed_; }

  // The state as the database has it, at open and after a reopen; missed are the changes that were never published.
  void load(Table table, std::vector<Change> missed);

 private:
  Result<void> prepare(const api::Object& object, Write& write);
  Result<api::Object> submit(Write write);
  void commit(const std::vector<PendingWrite*>& batch);

  const Form form_;
  std::shared_mutex state_mutex_;  // over table_; the feed's own lock is taken inside
  Table table_;
  const std::shared_ptr<Feed> feed_;
  GroupCommit commits_;
};

}  // namespace banger::store
