// SPDX-License-Identifier: Apache-2.0
#include "store/cached_store.hpp"

#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "api/codec.hpp"
#include "base/fnv1a.hpp"
#include "store/naming.hpp"
#include "store/visit.hpp"

namespace banger::store {
namespace {

// Keys of the database separate their parts by NUL, so no part may hold one. All else about names is the schema's business.
Result<void> check_key(const api::ObjectKey& key) {
  if (!key.name.empty() && key.name.find('\0') == std::string::npos && key.ns.find('\0') == std::string::npos) return {};
  return fail(invalid(fmt::format("{}: an object needs a name without NUL bytes", resource_name(key))));
}

}  // namespace

CachedStore::CachedStore(Feed::Keep keep, Feed::History history, Form form)
    : form_(form),
      feed_(std::make_shared<Feed>(keep, std::move(history))),
      commits_([this](const std::vector<PendingWrite*>& batch) { commit(batch); }) {}

// The object as a restart would read it back (the stored form keeps whole seconds, for instance), so that what is answered now
// and later is the same and a write that differs only in what is not kept changes nothing.
Result<void> CachedStore::prepare(const api::Object& object, Write& write) {
  BGR_CHECK(check_key(write.key));
  if (form_ == Form::Objects) {
    write.object = std::make_shared<api::Object>(object);
    normalise(*write.object);
    return {};
  }
  api::Object bare = object;
  bare.meta.resource_version = 0;  // kept beside the text: it is not known yet
  write.text = api::encode_text(bare);
  if (write.text.size() > kMaxObjectBytes) {
    return fail(invalid(fmt::format("{} is too large: {} bytes of JSON, at most {} are stored", resource_name(write.key),
                                    write.text.size(), kMaxObjectBytes)));
  }
  auto decoded = api::decode_stored(write.text);
  if (!decoded) return fail(with_context(std::move(decoded).error(), fmt::format("encoding {}", resource_name(write.key))));
  write.object = std::make_shared<api::Object>(*std::move(decoded));
  write.object->meta.resource_version = object.meta.resource_version;
  return {};
}

Result<api::Object> CachedStore::get(const api::ObjectKey& key) {
  ObjectPtr found;
  {
    const std::shared_lock lock(state_mutex_);
    found = table_.find(key);
  }
  if (found == nullptr) return fail(no_such_object(key));
  return *found;
}

Result<Listing> CachedStore::list(const ListQuery& query) {
  Listing listing;
  std::vector<ObjectPtr> found;
  {
    const std::shared_lock lock(state_mutex_);
    found = table_.list(query);
    listing.revision = table_.revision();
  }
  listing.objects.reserve(found.size());
  for (const auto& object : found) listing.objects.push_back(*object);
  return listing;
}

Revision CachedStore::visit(const ListQuery& query, const std::function<void(const api::Object&)>& see) {
  std::vector<ObjectPtr> found;
  Revision revision = 0;
  {
    const std::shared_lock lock(state_mutex_);
    found = table_.list(query);
    revision = table_.revision();
  }
  for (const auto& object : found) see(*object);
  return revision;
}

Revision CachedStore::last_change(api::Kind kind) {
  const std::shared_lock lock(state_mutex_);
  return table_.last_change(kind);
}

Result<std::uint64_t> stamp(Store& store, api::Kind kind) {
  if (auto* cached = dynamic_cast<CachedStore*>(&store)) return cached->last_change(kind);
  std::uint64_t stamp = kFnv1aStart;
  BGR_CHECK(visit(store, {.kind = kind, .ns = std::nullopt},
                  [&](const api::Object& object) { stamp = fnv1a_step(stamp, object.meta.resource_version); }));
  return stamp;
}

Result<Revision> visit(Store& store, const ListQuery& query, const std::function<void(const api::Object&)>& see) {
  if (auto* cached = dynamic_cast<CachedStore*>(&store)) return cached->visit(query, see);
  BGR_TRY(const auto listing, store.list(query));  // a store that wraps another
  for (const auto& object : listing.objects) see(object);
  return listing.revision;
}

Result<api::Object> CachedStore::create(const api::Object& object) {
  Write write{.verb = Write::Verb::Create, .key = api::key_of(object)};
  BGR_CHECK(prepare(object, write));
  return submit(std::move(write));
}

Result<api::Object> CachedStore::update(const api::Object& object) {
  Write write{.verb = Write::Verb::Update, .key = api::key_of(object)};
  BGR_CHECK(prepare(object, write));
  return submit(std::move(write));
}

Result<api::Object> CachedStore::remove(const api::ObjectKey& key, std::optional<Revision> expected) {
  return submit({.verb = Write::Verb::Remove, .key = key, .expected = expected});
}

Result<api::Object> CachedStore::submit(Write write) {
  PendingWrite pending{.write = std::move(write)};
  commits_.submit(pending);
  if (!pending.answer) return fail(std::move(pending.answer).error());
  return **pending.answer;
}

void CachedStore::commit(const std::vector<PendingWrite*>& batch) {
  auto possible = ready();
  Draft draft(table_);  // this thread alone changes table_: reading it needs no lock
  if (possible) {
    for (auto* pending : batch) pending->answer = draft.decide(pending->write);
    if (draft.edits().empty()) return;
    possible = persist(draft.edits());
  }
  if (!possible) {
    // Refusals among them were decided against changes that may never be: they too have to ask again.
    for (auto* pending : batch) pending->answer = fail(possible.error());
    return;
  }
  const std::unique_lock lock(state_mutex_);
  for (const auto& edit : draft.edits()) table_.apply(edit);
  feed_->publish(draft.edits());
}

void CachedStore::load(Table table, std::vector<Change> missed) {
  const std::unique_lock lock(state_mutex_);
  table_ = std::move(table);
  for (const auto& change : missed) table_.note_change(api::kind_of(change.object), change.revision);
  feed_->publish(std::move(missed));
}

Revision CachedStore::revision() {
  const std::shared_lock lock(state_mutex_);
  return table_.revision();
}

Revision CachedStore::compacted() { return feed_->compacted(); }

Result<std::unique_ptr<Watch>> CachedStore::watch(const WatchQuery& query) { return feed_->watch(query); }

Result<void> CachedStore::compact(Revision revision) {
  Result<void> answer;
  commits_.exclusively([&] {
    if (revision > table_.revision()) {
      answer = fail(invalid(fmt::format("cannot compact up to revision {}: the current one is {}", revision, table_.revision())));
    } else if (revision > feed_->compacted()) {
      answer = ready();
      if (answer) answer = persist_compaction(revision);
      if (answer) feed_->compact(revision);
    }
  });
  return answer;
}

}  // namespace banger::store
