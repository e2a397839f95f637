// SPDX-License-Identifier: Apache-2.0
// The current objects in memory, and what a batch of writes would make of them. Plain values: no lock, no disk.
//
// Objects are kept decoded and shared: a read is a copy, without a trip to the database or through the JSON decoder, and a list
// of a thousand VMs holds the lock only while it copies pointers. A VM with its status takes about 6 KiB this way, key and index
// included (tests/bench/store_bench.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "base/result.hpp"
#include "store/store.hpp"

namespace banger::store {

using ObjectPtr = std::shared_ptr<const api::Object>;

// What a caller asks for.
struct Write {
  enum class Verb { Create, Update, Remove } verb = Verb::Create;
  api::ObjectKey key;
  std::shared_ptr<api::Object> object;  // Create, Update; resource_version as the caller gave it
  std::string text;                     // its stored form, if the store has one
  std::optional<Revision> expected;     // Remove
};

// One decided change.
struct Edit {
  Revision revision = 0;
  ChangeType type = ChangeType::Added;
  api::ObjectKey key;
  ObjectPtr object;    // as Change::object
  ObjectPtr previous;  // null for Added
  std::string text;    // of object; empty for Deleted
};

class Table {
 public:
  [[nodiscard]] ObjectPtr find(const api::ObjectKey& key) const;  // null: not there
  [[nodiscard]] std::vector<ObjectPtr> list(const ListQuery& query) const;
  [[nodiscard]] bool has_short_id(const std::string& id) const { return short_ids_.contains(id); }
  [[nodiscard]] const std::map<api::ObjectKey, ObjectPtr>& objects() const { return objects_; }
  [[nodiscard]] Revision revision() const { return revision_; }
  [[nodiscard]] Revision last_change(api::Kind kind) const;  // of an object of the kind; of removals those that were noted

  void apply(const Edit& edit);
  void put(const api::ObjectKey& key, ObjectPtr object);  // while loading
  void note_change(api::Kind kind, Revision revision);
  void set_revision(Revision revision) { revision_ = revision; }

 private:
  std::map<api::ObjectKey, ObjectPtr> objects_;
  std::set<std::string> short_ids_;
  std::map<api::Kind, Revision> last_changes_;
  Revision revision_ = 0;
};

// Decides writes one after another against the table and the writes before them, without changing the table.
class Draft {
 public:
  explicit Draft(const Table& table) : table_(table), revision_(table.revision()) {}

  // The object the caller gets once the edits are durable. Errors as documented at Store. Update and Create take write.object.
  Result<ObjectPtr> decide(Write& write);

  [[nodiscard]] std::span<const Edit> edits() const { return edits_; }

 private:
  [[nodiscard]] ObjectPtr find(const api::ObjectKey& key) const;
  [[nodiscard]] bool has_short_id(const std::string& id) const;
  Result<ObjectPtr> create(Write& write);
  Result<ObjectPtr> update(Write& write);
  Result<ObjectPtr> remove(Write& write);
  ObjectPtr add(ChangeType type, Write& write, std::shared_ptr<api::Object> object, ObjectPtr previous);

  const Table& table_;
  Revision revision_;
  std::vector<Edit> edits_;
  std::map<api::ObjectKey, ObjectPtr> changed_;  // null: removed
  std::map<std::string, bool> short_ids_;        // true: taken by this draft, false: set free by it
};

}  // namespace banger::store
