// SPDX-License-Identifier: Apache-2.0
#include "controller/object_index.hpp"

#include "actuators/names.hpp"
#include "base/random.hpp"

namespace banger::controller {

void ObjectIndex::apply(const store::Change& change) {
  const auto key = api::key_of(change.object);
  const std::scoped_lock lock(mutex_);
  if (const auto it = entries_.find(key); it != entries_.end()) {
    by_uid_.erase(it->second.uid);
    entries_.erase(it);
  }
  if (change.type == store::ChangeType::Deleted) return;
  auto entry = entry_of(change.object);
  by_uid_.insert_or_assign(entry.uid, key);
  entries_.emplace(key, std::move(entry));
}

std::vector<api::ObjectKey> ObjectIndex::rebuild(const std::vector<api::Object>& objects) {
  std::map<api::ObjectKey, Entry> entries;
  std::map<std::string, api::ObjectKey> by_uid;
  for (const auto& object : objects) {
    const auto key = api::key_of(object);
    auto entry = entry_of(object);
    by_uid.insert_or_assign(entry.uid, key);
    entries.insert_or_assign(key, std::move(entry));
  }
  const std::scoped_lock lock(mutex_);
  std::vector<api::ObjectKey> vanished;
  for (const auto& [key, entry] : entries_) {
    if (!entries.contains(key)) vanished.push_back(key);
  }
  entries_ = std::move(entries);
  by_uid_ = std::move(by_uid);
  return vanished;
}

std::optional<api::ObjectKey> ObjectIndex::find(const std::string& uid) const {
  const std::scoped_lock lock(mutex_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return std::nullopt;
  return it->second;
}

std::vector<actuators::NetworkQuery> ObjectIndex::networks() const {
  const std::scoped_lock lock(mutex_);
  std::vector<actuators::NetworkQuery> queries;
  for (const auto& [key, entry] : entries_) {
    if (key.kind == api::Kind::Network) queries.push_back({.uid = entry.uid, .bridge = entry.bridge});
  }
  return queries;
}

std::map<std::string, std::size_t> ObjectIndex::vm_phases() {
  const std::scoped_lock lock(mutex_);
  std::map<std::string, std::size_t> phases;
  for (const auto& phase : phases_) phases[phase] = 0;
  for (const auto& [key, entry] : entries_) {
    if (key.kind != api::Kind::VirtualMachine) continue;
    ++phases[entry.phase];
    phases_.insert(entry.phase);
  }
  return phases;
}

ObjectIndex::Entry ObjectIndex::entry_of(const api::Object& object) {
  Entry entry{.uid = object.meta.uid};
  if (const auto* network = std::get_if<api::Network>(&object.body)) {
    entry.bridge = network->status.bridge.empty() ? network->spec.bridge : network->status.bridge;
    if (entry.bridge.empty() && is_uid(entry.uid)) entry.bridge = actuators::bridge_name(entry.uid);
  } else if (const auto* vm = std::get_if<api::VirtualMachine>(&object.body)) {
    entry.phase = vm->status.phase.empty() ? "Unknown" : vm->status.phase;
  }
  return entry;
}

}  // namespace banger::controller
