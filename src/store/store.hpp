// SPDX-License-Identifier: Apache-2.0
// The object store port: etcd's semantics (one revision counter, compare-and-set, changelog, watch from a revision). It knows
// nothing of generations or finalizers (objects.hpp does). All methods are thread-safe. Durable before visible: a write is synced
// before any reader, watcher or caller sees it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace banger::store {

using Revision = std::uint64_t;

enum class ChangeType { Added, Modified, Deleted };

struct Change {
  Revision revision = 0;
  ChangeType type = ChangeType::Added;
  api::Object object;  // after the change; for Deleted the last state, its resource_version the deletion's revision
  std::optional<api::Object> previous;  // before it; absent for Added
  bool operator==(const Change&) const = default;
};

struct ListQuery {
  api::Kind kind = api::Kind::VirtualMachine;
  std::optional<std::string> ns;  // absent: all namespaces
};

struct Listing {
  std::vector<api::Object> objects;  // ordered by namespace, name
  Revision revision = 0;             // the snapshot's; a watch from here misses nothing
  bool operator==(const Listing&) const = default;
};

struct WatchQuery {
  std::optional<api::Kind> kind;  // absent: every kind
  Revision after = 0;             // changes with a greater revision
};

// One watcher. Destroying it ends it. Not to be shared between threads, except for wake().
class Watch {
 public:
  virtual ~Watch() = default;
  // The next changes in revision order, at most max, waiting up to timeout for the first (0: not at all). Empty: none came.
  // Errors: Gone when the watcher fell more than 4096 changes behind (after it had caught up once; before, the changelog serves
  // it) or what it has yet to read was compacted; list again then. Unavailable when the store was closed.
  virtual Result<std::vector<Change>> next(std::size_t max, std::chrono::milliseconds timeout) = 0;
  // Everything up to this revision has been handed out: fit for a bookmark.
  virtual Revision delivered() const = 0;
  // From any thread: makes a waiting next() return at once. Counts once, also for the next call when none waits now.
  virtual void wake() = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  virtual Result<api::Object> get(const api::ObjectKey& key) = 0;  // NotFound
  virtual Result<Listing> list(const ListQuery& query) = 0;

  // Stores a new object; resource_version of the answer is the new revision. Errors: AlreadyExists, Invalid (over 1.5 MiB),
  // Conflict: another living object's uid has the same first 50 bits (names.hpp short_id), from which kernel names are made.
  virtual Result<api::Object> create(const api::Object& object) = 0;

  // Replaces the object whose resource_version is object.meta.resource_version. A write that changes nothing returns the stored
  // object and makes no revision. The uid cannot change (Invalid). Errors: NotFound, Conflict, Invalid.
  virtual Result<api::Object> update(const api::Object& object) = 0;

  // Removes it if its resource_version is expected (absent: whatever it is). Returns the last state with the deletion's revision.
  // Errors: NotFound, Conflict.
  virtual Result<api::Object> remove(const api::ObjectKey& key, std::optional<Revision> expected) = 0;

  virtual Revision revision() = 0;   // of the last write; 0 in a store never written
  virtual Revision compacted() = 0;  // watches can start at this revision or later

  // Gone when query.after < compacted(); Invalid when query.after > revision().
  virtual Result<std::unique_ptr<Watch>> watch(const WatchQuery& query) = 0;

  // Forgets changes up to and including revision. Current objects stay. Errors: Invalid when revision > revision().
  virtual Result<void> compact(Revision revision) = 0;

  // True after a failed write until the store has been reopened: writes answer Unavailable, reads go on.
  virtual bool poisoned() = 0;
};

std::unique_ptr<Store> make_memory_store();

// Opens or makes the database. Errors name the directory and say what to do: Busy (another process has it open), Unavailable
// (disk full), Denied, Invalid (not a directory, or written by a newer version), Internal (damaged: nothing was changed).
Result<std::unique_ptr<Store>> open_rocksdb_store(const std::string& directory);

// A database that was found, or what became of it.
struct FoundStore {
  std::unique_ptr<Store> store;  // null: there is none (any more), and one is to be made and filled
  std::string damage;            // why it was set aside, as a sentence; empty: it was not there
  std::string set_aside;         // where it is now, whole: "<directory>.damaged-20261121T130511Z"
};

// Opens the database and makes none. A damaged one, or anything else that stands in its place, is renamed whole and the renaming
// synced: nothing of it is used. What may pass or is not for us to judge is no damage: the errors of open_rocksdb_store() but for
// Internal.
Result<FoundStore> find_rocksdb_store(const std::string& directory, WallTime now);

// Makes a database where none is; its first change will be base + 1, and watches from before base are told that it is gone.
Result<std::unique_ptr<Store>> make_rocksdb_store(const std::string& directory, Revision base);

// A store that was made and filled beside its place takes it, all at once: closed, renamed, synced, opened there. What a crash
// left beside it before is found and removed by discard_rocksdb_store().
Result<std::unique_ptr<Store>> settle_rocksdb_store(std::unique_ptr<Store> store, const std::string& from, const std::string& to);
Result<void> discard_rocksdb_store(const std::string& directory);

}  // namespace banger::store
