// SPDX-License-Identifier: Apache-2.0
// The store on RocksDB: each batch of edits is one synced write. After a failed write nothing is known of the disk until the
// database has been closed and opened again, so writes are refused meanwhile; reads come from memory and go on.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <utility>

#include "api/codec.hpp"
#include "store/cached_store.hpp"
#include "store/database.hpp"
#include "store/loading.hpp"
#include "store/naming.hpp"
#include "store/record.hpp"

namespace banger::store {
namespace {

constexpr std::chrono::seconds kReopenPause{1};

Feed::History history_of(const std::shared_ptr<Database>& database) {
  // A watcher may outlive the store, but must not keep the database open.
  return [weak = std::weak_ptr(database)](const WatchQuery& query, Revision last, std::size_t max) -> Result<Scanned> {
    const auto open = weak.lock();
    if (open == nullptr) return fail({ErrorCode::Unavailable, "the store was closed"});
    return read_changes(*open, query, last, max);
  };
}

void put(Batch& batch, std::string key, std::string_view payload) {
  auto value = record::seal(key, payload);
  batch.operations.push_back({std::move(key), std::move(value)});
}

std::string text_of(const ObjectPtr& object) {
  if (object == nullptr) return {};
  api::Object bare = *object;
  bare.meta.resource_version = 0;
  return api::encode_text(bare);
}

void add_edit(Batch& batch, const Edit& edit) {
  auto key = record::object_key(edit.key);
  const auto previous = text_of(edit.previous);
  put(batch, record::change_key(edit.revision),
      record::change_payload({.type = edit.type,
                              .object_key = key,
                              .previous_revision = edit.previous == nullptr ? 0 : edit.previous->meta.resource_version,
                              .text = edit.text,
                              .previous_text = previous}));
  const auto& uid = edit.object->meta.uid;
  const auto id = short_id(uid);
  if (id && edit.type == ChangeType::Added) {
    put(batch, record::uid_key(uid), key);
    put(batch, record::short_id_key(*id), uid);
  }
  if (id && edit.type == ChangeType::Deleted) {
    batch.operations.push_back({record::uid_key(uid), std::nullopt});
    batch.operations.push_back({record::short_id_key(*id), std::nullopt});
  }
  if (edit.type == ChangeType::Deleted) {
    batch.operations.push_back({std::move(key), std::nullopt});
  } else {
    put(batch, std::move(key), record::object_payload(edit.revision, edit.text));
  }
}

class RocksdbStore final : public CachedStore {
 public:
  explicit RocksdbStore(std::shared_ptr<Database> database)
      : CachedStore(Feed::Keep::Ring, history_of(database)), database_(std::move(database)) {}
  ~RocksdbStore() override { feed().close(); }

  Result<void> load_first(Revision base) {
    BGR_TRY(auto loaded, store::load(*database_, base));
    feed().start(loaded.table.revision(), loaded.compacted);
    load(std::move(loaded.table), {});
    return {};
  }

  bool poisoned() override { return poisoned_; }

 protected:
  Result<void> ready() override;
  Result<void> persist(std::span<const Edit> edits) override;
  Result<void> persist_compaction(Revision revision) override;

 private:
  Result<void> write(const Batch& batch);
  Result<void> heal();

  const std::shared_ptr<Database> database_;
  std::atomic<bool> poisoned_ = false;
  // Of the one thread that commits.
  Error failure_;
  std::chrono::steady_clock::time_point next_attempt_;
};

Result<void> RocksdbStore::persist(std::span<const Edit> edits) {
  Batch batch;
  for (const auto& edit : edits) add_edit(batch, edit);
  put(batch, std::string(record::kRevisionKey), record::number(edits.back().revision));
  return write(batch);
}

Result<void> RocksdbStore::persist_compaction(Revision revision) {
  Batch batch;
  batch.erase_range = {record::change_key(0), record::change_key(revision + 1)};
  put(batch, std::string(record::kCompactedKey), record::number(revision));
  return write(batch);
}

Result<void> RocksdbStore::write(const Batch& batch) {
  auto written = database_->write(batch);
  if (written) return {};
  failure_ = std::move(written).error();
  failure_.message += " Writes are refused until the database could be opened again; reads go on.";
  next_attempt_ = std::chrono::steady_clock::now() + kReopenPause;
  poisoned_ = true;
  return fail(failure_);
}

Result<void> RocksdbStore::ready() {
  if (!poisoned_) return {};
  if (std::chrono::steady_clock::now() < next_attempt_) return fail(failure_);
  auto healed = heal();
  next_attempt_ = std::chrono::steady_clock::now() + kReopenPause;
  if (healed) {
    poisoned_ = false;
    return {};
  }
  database_->close();
  failure_ = {ErrorCode::Unavailable, fmt::format("opening the database again after a failed write: {}", healed.error().message),
              healed.error().sys_errno};
  return fail(failure_);
}

// The failed batch may or may not be there: if it is, it becomes visible now, watchers included.
Result<void> RocksdbStore::heal() {
  BGR_CHECK(database_->reopen());
  BGR_TRY(auto loaded, store::load(*database_));
  const Revision before = table().revision();
  const Revision after = loaded.table.revision();
  if (after < before || loaded.compacted < feed().compacted()) {
    return fail(
        internal(fmt::format("the database in {} went back from revision {} to {}", database_->directory(), before, after)));
  }
  std::vector<Change> missed;
  for (Revision place = before; place < after;) {
    BGR_TRY(auto scanned, read_changes(*database_, {.after = place}, after, 256));
    place = scanned.upto;
    std::ranges::move(scanned.changes, std::back_inserter(missed));
  }
  load(std::move(loaded.table), std::move(missed));
  feed().compact(loaded.compacted);
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> open_rocksdb_store(const std::string& directory) { return make_rocksdb_store(directory, 0); }

Result<std::unique_ptr<Store>> make_rocksdb_store(const std::string& directory, Revision base) {
  BGR_TRY(auto database, Database::open(directory));
  auto store = std::make_unique<RocksdbStore>(std::move(database));
  BGR_CHECK(store->load_first(base));
  return store;
}

}  // namespace banger::store
