// SPDX-License-Identifier: Apache-2.0
#include "server/watch_stream.hpp"

#include <algorithm>
#include <utility>

namespace banger::server {
namespace {

constexpr std::size_t kChunkBytes = 256U << 10U;
constexpr std::size_t kChangesAtOnce = 256;

void add_line(std::string& out, std::string_view type, std::string_view object) {
  out.append(R"({"type":")").append(type).append(R"(","object":)").append(object).append("}\n");
}

}  // namespace

WatchStream::WatchStream(std::unique_ptr<store::Watch> watch, std::vector<api::Object> initial, store::Revision initial_revision,
                         WatchPlan plan, Clock& clock)
    : watch_(std::move(watch)),
      initial_(std::move(initial)),
      initial_revision_(initial_revision),
      plan_(std::move(plan)),
      clock_(clock),
      next_bookmark_(clock.steady() + plan_.bookmark_interval) {}

void WatchStream::add_event(std::string& out, std::string_view type, const api::Object& object) {
  add_line(out, type, show_event_object(plan_.view, object, columns_, clock_.wall()));
  columns_ = Columns::Omitted;
}

// Selector edges: what enters the selection is ADDED, what leaves it is DELETED in its previous state with the new revision.
void WatchStream::add_change(std::string& out, store::Change& change) {
  const bool before = change.previous ? plan_.selection.matches(*change.previous)
                                      : change.type == store::ChangeType::Deleted && plan_.selection.matches(change.object);
  const bool now = change.type != store::ChangeType::Deleted && plan_.selection.matches(change.object);
  if (now) return add_event(out, before ? "MODIFIED" : "ADDED", change.object);
  if (!before) return;
  if (change.type == store::ChangeType::Deleted) return add_event(out, "DELETED", change.object);
  change.previous->meta.resource_version = change.revision;
  add_event(out, "DELETED", *change.previous);
}

void WatchStream::add_bookmark(std::string& out, InitialEvents initial) {
  add_line(out, "BOOKMARK", show_bookmark(plan_.view, plan_.kind, std::max(watch_->delivered(), initial_revision_), initial));
  next_bookmark_ = clock_.steady() + plan_.bookmark_interval;
}

void WatchStream::add_initial(std::string& out) {
  while (initial_sent_ < initial_.size() && out.size() < kChunkBytes) add_event(out, "ADDED", initial_[initial_sent_++]);
  if (initial_sent_ < initial_.size()) return;
  initial_.clear();
  initial_sent_ = 0;
  if (std::exchange(plan_.mark_initial_end, false)) add_bookmark(out, InitialEvents::Ended);
}

Stream::Chunk WatchStream::next() {
  Chunk chunk;
  if (!initial_.empty() || plan_.mark_initial_end) {
    add_initial(chunk.bytes);
    chunk.more = true;
    return chunk;
  }
  while (chunk.bytes.size() < kChunkBytes) {
    auto changes = watch_->next(kChangesAtOnce, std::chrono::milliseconds{0});
    if (!changes) {
      const auto& error = changes.error();
      add_line(
          chunk.bytes, "ERROR",
          to_json(error.code == ErrorCode::Gone
                      ? expired(error.message)
                      : StatusError{.code = 503, .reason = "ServiceUnavailable", .message = error.message, .retry_after = 1}));
      chunk.end = true;
      return chunk;
    }
    if (changes->empty()) break;
    for (auto& change : *changes) add_change(chunk.bytes, change);
  }
  const auto now = clock_.steady();
  chunk.more = chunk.bytes.size() >= kChunkBytes;
  chunk.end = now >= plan_.deadline;
  if (plan_.bookmarks && !chunk.more && (chunk.end || now >= next_bookmark_)) add_bookmark(chunk.bytes, InitialEvents::Going);
  return chunk;
}

SteadyTime WatchStream::look_again() const { return plan_.bookmarks ? std::min(next_bookmark_, plan_.deadline) : plan_.deadline; }

}  // namespace banger::server
