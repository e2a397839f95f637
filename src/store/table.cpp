// SPDX-License-Identifier: Apache-2.0
#include "store/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "store/naming.hpp"

namespace banger::store {

ObjectPtr Table::find(const api::ObjectKey& key) const {
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second;
}

std::vector<ObjectPtr> Table::list(const ListQuery& query) const {
  std::vector<ObjectPtr> out;
  for (auto at = objects_.lower_bound({query.kind, query.ns.value_or(""), ""}); at != objects_.end(); ++at) {
    if (at->first.kind != query.kind || (query.ns && at->first.ns != *query.ns)) break;
    out.push_back(at->second);
  }
  return out;
}

Revision Table::last_change(api::Kind kind) const {
  const auto found = last_changes_.find(kind);
  return found == last_changes_.end() ? 0 : found->second;
}

void Table::note_change(api::Kind kind, Revision revision) {
  auto& last = last_changes_[kind];
  last = std::max(last, revision);
}

void Table::apply(const Edit& edit) {
  revision_ = edit.revision;
  note_change(edit.key.kind, edit.revision);
  if (edit.type != ChangeType::Deleted) {
    put(edit.key, edit.object);
    return;
  }
  objects_.erase(edit.key);
  if (const auto id = short_id(edit.object->meta.uid)) short_ids_.erase(*id);
}

void Table::put(const api::ObjectKey& key, ObjectPtr object) {
  if (auto id = short_id(object->meta.uid)) short_ids_.insert(std::move(*id));
  note_change(key.kind, object->meta.resource_version);
  objects_[key] = std::move(object);
}

ObjectPtr Draft::find(const api::ObjectKey& key) const {
  const auto found = changed_.find(key);
  return found == changed_.end() ? table_.find(key) : found->second;
}

bool Draft::has_short_id(const std::string& id) const {
  const auto found = short_ids_.find(id);
  return found == short_ids_.end() ? table_.has_short_id(id) : found->second;
}

Result<ObjectPtr> Draft::decide(Write& write) {
  switch (write.verb) {
    case Write::Verb::Create:
      return create(write);
    case Write::Verb::Update:
      return update(write);
    case Write::Verb::Remove:
      return remove(write);
  }
  return fail(internal("a write without a verb"));
}

Result<ObjectPtr> Draft::create(Write& write) {
  if (find(write.key) != nullptr) return fail(object_exists(write.key));
  if (const auto id = short_id(write.object->meta.uid)) {
    if (has_short_id(*id)) {
      return fail(operation_conflict(write.key, fmt::format("the short id {} of its uid is taken by another object", *id)));
    }
    short_ids_[*id] = true;
  }
  return add(ChangeType::Added, write, std::move(write.object), nullptr);
}

Result<ObjectPtr> Draft::update(Write& write) {
  auto current = find(write.key);
  if (current == nullptr) return fail(no_such_object(write.key));
  if (write.object->meta.resource_version != current->meta.resource_version) return fail(object_was_modified(write.key));
  if (write.object->meta.uid != current->meta.uid) {
    return fail(invalid(fmt::format("{}: the uid of a stored object cannot change (from \"{}\" to \"{}\")",
                                    resource_name(write.key), current->meta.uid, write.object->meta.uid)));
  }
  if (*write.object == *current) return current;
  return add(ChangeType::Modified, write, std::move(write.object), std::move(current));
}

Result<ObjectPtr> Draft::remove(Write& write) {
  auto current = find(write.key);
  if (current == nullptr) return fail(no_such_object(write.key));
  if (write.expected && *write.expected != current->meta.resource_version) return fail(object_was_modified(write.key));
  if (const auto id = short_id(current->meta.uid)) short_ids_[*id] = false;
  auto last = std::make_shared<api::Object>(*current);
  return add(ChangeType::Deleted, write, std::move(last), std::move(current));
}

ObjectPtr Draft::add(ChangeType type, Write& write, std::shared_ptr<api::Object> object, ObjectPtr previous) {
  object->meta.resource_version = ++revision_;
  changed_[write.key] = type == ChangeType::Deleted ? nullptr : object;
  edits_.push_back({.revision = revision_,
                    .type = type,
                    .key = write.key,
                    .object = object,
                    .previous = std::move(previous),
                    .text = std::move(write.text)});
  return object;
}

}  // namespace banger::store
