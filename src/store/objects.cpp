// SPDX-License-Identifier: Apache-2.0
#include "store/objects.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "store/naming.hpp"

namespace banger::store {
namespace {

constexpr int kAttempts = 8;

std::unexpected<WriteError> refuse(Error error) { return std::unexpected<WriteError>({std::move(error), {}}); }

// VirtualMachine.banger.dev "web" is invalid: spec.cpus: must be between 1 and 32, is 99
std::unexpected<WriteError> refuse(const api::ObjectKey& key, std::vector<api::Refusal> refusals) {
  std::vector<std::string> sentences;
  for (const auto& refusal : refusals) sentences.push_back(api::to_string(refusal, ""));
  const auto all = fmt::format("{}", fmt::join(sentences, ", "));
  auto message = fmt::format("{}.{} \"{}\" is invalid: {}", api::info(key.kind).name, api::kGroup, key.name,
                             sentences.size() == 1 ? all : fmt::format("[{}]", all));
  return std::unexpected<WriteError>({invalid(std::move(message)), std::move(refusals)});
}

template <class T>
concept HasStatus = requires(T body) { body.status; };

// Both bodies are of one kind. Kinds without a status are spec as a whole.
void copy_status(const api::Body& from, api::Body& to) {
  std::visit(
      [&]<class T>(T& body) {
        if constexpr (HasStatus<T>) body.status = std::get<T>(from).status;
      },
      to);
}

bool has_status(const api::Body& body) {
  return std::visit([]<class T>(const T&) { return HasStatus<T>; }, body);
}

void drop_status(api::Body& body) {
  std::visit(
      []<class T>(T& it) {
        if constexpr (HasStatus<T>) it.status = {};
      },
      body);
}

bool same_spec(const api::Body& a, const api::Body& b) {
  return std::visit(
      [&]<class T>(const T& body) {
        const T& other = std::get<T>(b);
        if constexpr (HasStatus<T>) {
          return body.spec == other.spec;
        } else {
          return body == other;
        }
      },
      a);
}

// Stored times have whole seconds, as Kubernetes writes them.
WallTime now(Clock& clock) { return std::chrono::floor<std::chrono::seconds>(clock.wall()); }

std::string uid_mismatch(std::string_view asked, std::string_view stored) {
  return fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", asked, stored);
}

std::optional<Error> violated(const api::ObjectKey& key, const api::Object& asked, const api::Object& current) {
  if (!asked.meta.uid.empty() && asked.meta.uid != current.meta.uid) {
    return operation_conflict(key, uid_mismatch(asked.meta.uid, current.meta.uid));
  }
  if (asked.meta.resource_version != 0 && asked.meta.resource_version != current.meta.resource_version) {
    return object_was_modified(key);
  }
  return std::nullopt;
}

std::vector<api::Refusal> added_finalizers(const api::Object& next, const api::Object& current) {
  const auto& had = current.meta.finalizers;
  std::vector<std::string> added;
  for (const auto& finalizer : next.meta.finalizers) {
    if (std::ranges::find(had, finalizer) == had.end()) added.push_back(fmt::format("\"{}\"", finalizer));
  }
  if (added.empty()) return {};
  return {{.field = "metadata.finalizers",
           .reason = "FieldValueForbidden",
           .message = fmt::format("no new finalizers can be added while the object is being deleted, found {}",
                                  fmt::join(added, ", "))}};
}

// What an update makes of current, or why it may not.
WriteResult<api::Object> replaced(const api::ObjectKey& key, const api::Object& asked, const api::Object& current) {
  api::Object next = current;
  next.meta.labels = asked.meta.labels;
  next.meta.annotations = asked.meta.annotations;
  next.meta.finalizers = asked.meta.finalizers;
  next.meta.owner_references = asked.meta.owner_references;
  next.body = asked.body;
  copy_status(current.body, next.body);
  const bool other_spec = !same_spec(next.body, current.body);
  if (other_spec) ++next.meta.generation;
  if (current.meta.deletion_time) {
    if (auto refusals = added_finalizers(next, current); !refusals.empty()) return refuse(key, std::move(refusals));
  }
  if (other_spec || next.meta.labels != current.meta.labels || next.meta.annotations != current.meta.annotations) {
    if (auto refusals = api::validate(next, &current); !refusals.empty()) return refuse(key, std::move(refusals));
  }
  return next;
}

}  // namespace

WriteResult<api::Object> Objects::create(api::Object object) {
  const auto key = api::key_of(object);
  if (object.meta.resource_version != 0) {
    return refuse(key, {{.field = "metadata.resourceVersion",
                         .reason = "FieldValueForbidden",
                         .message = "should not be set on objects to be created"}});
  }
  drop_status(object.body);
  object.meta.generation = 1;
  object.meta.creation_time = now(clock_);
  object.meta.deletion_time = std::nullopt;
  if (auto refusals = api::validate(object, nullptr); !refusals.empty()) return refuse(key, std::move(refusals));
  const auto claimed = begin_claimed(key);
  for (int attempt = 1;; ++attempt) {
    const bool by_claim = claimed && attempt == 1;
    object.meta.uid = by_claim ? *claimed : new_uid(random_);
    auto stored = store_.create(object);
    const bool taken = !stored && stored.error().code == ErrorCode::Conflict;
    if (by_claim) end_claimed(*claimed, stored || taken);
    if (stored) return *std::move(stored);
    // Conflict: another living object has this uid's short id. One in 2^48 even with thousands of objects.
    if (stored.error().code != ErrorCode::Conflict || attempt == kAttempts) return refuse(std::move(stored).error());
  }
}

void Objects::claim(Claims claims) {
  const std::lock_guard lock(mutex_);
  claims_ = std::move(claims);
}

Objects::Claims Objects::claims() const {
  const std::lock_guard lock(mutex_);
  return claims_;
}

bool Objects::withdraw_claim(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  const auto id = short_id(uid);
  const auto is_it = [&](const std::string& other) { return other == uid || (id && short_id(other) == id); };
  if (std::ranges::any_of(being_created_, is_it)) return false;
  std::erase_if(claims_, [&](const auto& entry) { return is_it(entry.second); });
  return true;
}

std::optional<std::string> Objects::begin_claimed(const api::ObjectKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = claims_.find(key);
  if (found == claims_.end()) return std::nullopt;
  being_created_.insert(found->second);
  return found->second;
}

// used: an object has the uid, this one or another.
void Objects::end_claimed(const std::string& uid, bool used) {
  const std::lock_guard lock(mutex_);
  being_created_.extract(uid);  // one of them
  if (used) std::erase_if(claims_, [&](const auto& entry) { return entry.second == uid; });
}

WriteResult<api::Object> Objects::write_part(const api::Object& object, Part part) {
  const auto key = api::key_of(object);
  for (int attempt = 1;; ++attempt) {
    auto current = store_.get(key);
    if (!current) return refuse(std::move(current).error());
    if (auto conflict = violated(key, object, *current)) return refuse(*std::move(conflict));
    api::Object next = *current;
    if (part == Part::Main) {
      auto asked = replaced(key, object, *current);
      if (!asked) return asked;
      next = *std::move(asked);
    } else {
      copy_status(object.body, next.body);
    }
    const bool goes = part == Part::Main && next.meta.deletion_time && next.meta.finalizers.empty();
    auto written = goes ? store_.remove(key, next.meta.resource_version) : store_.update(next);
    if (written) {
      if (!goes) return *std::move(written);
      next.meta.resource_version = written->meta.resource_version;
      return next;
    }
    const bool again = written.error().code == ErrorCode::Conflict && object.meta.resource_version == 0;
    if (!again || attempt == kAttempts) return refuse(std::move(written).error());
  }
}

WriteResult<api::Object> Objects::update(const api::Object& object) { return write_part(object, Part::Main); }

WriteResult<api::Object> Objects::update_status(const api::Object& object) {
  if (!has_status(object.body)) {
    const auto& kind = api::info(api::kind_of(object));
    return refuse(invalid(fmt::format("{} has no status", kind.name)));
  }
  return write_part(object, Part::Status);
}

WriteResult<api::Object> Objects::edit(const api::ObjectKey& key, const Edit& change) {
  return edit_part(key, change, Part::Main);
}

WriteResult<api::Object> Objects::edit_status(const api::ObjectKey& key, const Edit& change) {
  return edit_part(key, change, Part::Status);
}

WriteResult<api::Object> Objects::edit_part(const api::ObjectKey& key, const Edit& change, Part part) {
  for (int attempt = 1;; ++attempt) {
    auto object = store_.get(key);
    if (!object) return refuse(std::move(object).error());
    const auto version = object->meta.resource_version;
    if (auto changed = change(*object); !changed) return refuse(std::move(changed).error());
    if (api::key_of(*object) != key) {
      return refuse(
          invalid(fmt::format("{}: an edit may not make it {}", resource_name(key), resource_name(api::key_of(*object)))));
    }
    object->meta.resource_version = version;
    auto written = part == Part::Main ? update(*object) : update_status(*object);
    if (written || written.error().error.code != ErrorCode::Conflict || attempt == kAttempts) return written;
  }
}

WriteResult<Objects::Deleted> Objects::remove(const api::ObjectKey& key, const DeleteOptions& options) {
  for (int attempt = 1;; ++attempt) {
    auto current = store_.get(key);
    if (!current) return refuse(std::move(current).error());
    const auto& meta = current->meta;
    if (options.uid && *options.uid != meta.uid) return refuse(operation_conflict(key, uid_mismatch(*options.uid, meta.uid)));
    if (options.resource_version && *options.resource_version != meta.resource_version) {
      return refuse(operation_conflict(
          key, fmt::format("Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
                           *options.resource_version, meta.resource_version)));
    }
    const bool goes = meta.finalizers.empty();
    if (!goes && meta.deletion_time) return Deleted{.object = *std::move(current), .gone = false};
    if (!goes) {
      current->meta.deletion_time = now(clock_);
      ++current->meta.generation;
    }
    auto written = goes ? store_.remove(key, meta.resource_version) : store_.update(*current);
    if (written) return Deleted{.object = *std::move(written), .gone = goes};
    const bool again = written.error().code == ErrorCode::Conflict && !options.resource_version;
    if (!again || attempt == kAttempts) return refuse(std::move(written).error());
  }
}

}  // namespace banger::store
