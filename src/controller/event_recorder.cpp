// SPDX-License-Identifier: Apache-2.0
#include "controller/event_recorder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/fnv1a.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace banger::controller {
namespace {

constexpr std::size_t kMaxMessage = 1024;    // as Kubernetes' events
constexpr std::size_t kMaxObjectName = 230;  // leaves room for ".<16 digits>" in a name of 253
constexpr int kWriteAttempts = 4;

// Printable, and cut between characters.
std::string shortened(std::string_view message) {
  std::string text = printable(message);
  if (text.size() <= kMaxMessage) return text;
  std::size_t end = kMaxMessage - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end) + "...";
}

api::ObjectKey event_key(const api::Event& event) {
  std::uint64_t hash = kFnv1aStart;
  hash = fnv1a_field(hash, api::to_string(event.involved));
  hash = fnv1a_field(hash, event.involved_uid);
  hash = fnv1a_field(hash, event.type == api::EventType::Warning ? "Warning" : "Normal");
  hash = fnv1a_field(hash, event.reason);
  hash = fnv1a_field(hash, event.message);
  return {.kind = api::Kind::Event,
          .ns = event.involved.ns.empty() ? std::string(api::kDefaultNamespace) : event.involved.ns,
          .name = fmt::format("{}.{:016x}", event.involved.name.substr(0, kMaxObjectName), hash)};
}

}  // namespace

void EventRecorder::record(const api::ObjectKey& involved, const std::string& uid, api::EventType type, std::string_view reason,
                           std::string_view message) {
  const auto now = std::chrono::floor<std::chrono::seconds>(clock_.wall());  // what the store keeps
  api::Event event{.involved = involved,
                   .involved_uid = uid,
                   .type = type,
                   .reason = std::string(reason),
                   .message = shortened(message),
                   .count = 1,
                   .first_time = now,
                   .last_time = now};
  const auto name = event_key(event);
  if (const auto due = admit(name, std::move(event))) write(name, *due);
}

// Under the lock: what is to be written now, with everything held back so far; nothing, when it has to wait or is too much.
std::optional<api::Event> EventRecorder::admit(const api::ObjectKey& name, api::Event event) {
  const auto now = clock_.steady();
  const std::scoped_lock lock(mutex_);
  if (remembered_.size() >= options_.max_remembered) remembered_.clear();
  if (buckets_.size() >= options_.max_remembered) buckets_.clear();
  auto it = remembered_.find(name);
  if (it == remembered_.end()) {
    auto [bucket, is_new] = buckets_.try_emplace({event.involved, event.involved_uid}, Bucket{options_.burst, now});
    if (!take(bucket->second, options_.burst, options_.refill, now)) {
      ++dropped_;
      return std::nullopt;
    }
    it = remembered_.emplace(name, Remembered{std::move(event), Bucket{options_.repeat_burst, now}}).first;
  } else {
    auto& held = it->second.event;
    if (held.count == 0) held.first_time = event.first_time;
    held.last_time = event.last_time;
    ++held.count;
  }
  auto& [held, bucket] = it->second;
  if (!take(bucket, options_.repeat_burst, options_.repeat_refill, now)) return std::nullopt;
  auto due = held;
  held.count = 0;
  return due;
}

bool EventRecorder::take(Bucket& bucket, double burst, std::chrono::milliseconds refill, SteadyTime now) {
  const double gained = std::chrono::duration<double>(now - bucket.filled) / std::chrono::duration<double>(refill);
  bucket.tokens = std::min(burst, bucket.tokens + gained);
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

void EventRecorder::flush() {
  std::vector<std::pair<api::ObjectKey, api::Event>> due;
  {
    const std::scoped_lock lock(mutex_);
    for (auto& [name, remembered] : remembered_) {
      if (remembered.event.count == 0) continue;
      due.emplace_back(name, remembered.event);
      remembered.event.count = 0;
    }
  }
  for (const auto& [name, event] : due) write(name, event);
}

std::uint64_t EventRecorder::dropped() const {
  const std::scoped_lock lock(mutex_);
  return dropped_;
}

void EventRecorder::write(const api::ObjectKey& name, const api::Event& event) {
  const auto written = try_write(name, event);
  const std::scoped_lock lock(mutex_);
  const bool first_failure = !written && !failing_;
  failing_ = !written;
  if (written) return;
  if (const auto it = remembered_.find(name); it != remembered_.end()) {  // counted with the next write
    auto& held = it->second.event;
    if (held.count == 0) held.last_time = event.last_time;
    held.first_time = event.first_time;
    held.count += event.count;
  }
  if (first_failure) {
    log::warning("writing an event failed, ignoring",
                 {{"event", name.name}, {"reason", event.reason}, {"error", written.error().message}});
  }
}

// Counts up the stored event, or stores it anew; whoever else writes it at the same moment is counted too.
Result<void> EventRecorder::try_write(const api::ObjectKey& name, const api::Event& event) {
  Error last = internal("not tried");
  for (int attempt = 0; attempt < kWriteAttempts; ++attempt) {
    auto stored = objects_.store().get(name);
    if (!stored && stored.error().code != ErrorCode::NotFound) return fail(std::move(stored).error());
    if (!stored) {
      auto created = objects_.create({.meta = {.name = name.name, .ns = name.ns}, .body = event});
      if (created) {
        // New warnings are for whoever reads only the log; repeats are counted, and floods kept out, before this.
        if (event.type == api::EventType::Warning) {
          log::warning("event", {{"object", api::to_string(event.involved)}, {"reason", event.reason}, {"said", event.message}});
        }
        return {};
      }
      last = created.error().error;
      if (last.code != ErrorCode::AlreadyExists) return fail(std::move(last));
      continue;
    }
    auto* counted = std::get_if<api::Event>(&stored->body);
    if (counted == nullptr) return fail(internal("the store gave another kind for " + api::to_string(name)));
    counted->count += event.count;
    counted->last_time = event.last_time;
    auto updated = objects_.store().update(*stored);
    if (updated) return {};
    last = updated.error();
    if (last.code != ErrorCode::Conflict && last.code != ErrorCode::NotFound) return fail(std::move(last));
  }
  return fail(std::move(last));
}

}  // namespace banger::controller
