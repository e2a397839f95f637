// SPDX-License-Identifier: Apache-2.0
#include "controller/work_queue.hpp"

#include <algorithm>
#include <string>

#include "api/object.hpp"

namespace banger::controller {
namespace {

// How long a waiting get() trusts that nobody moved the clock under it.
constexpr std::chrono::milliseconds kSafetyTick{10'000};

double seconds(std::chrono::milliseconds duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

WorkQueue::WorkQueue(const WorkQueueOptions& options, Clock& clock, Metrics& metrics)
    : options_(options), clock_(clock), metrics_(metrics) {}

void WorkQueue::add(const api::ObjectKey& key) {
  const std::scoped_lock lock(mutex_);
  if (shut_down_) return;
  add_now(key, items_[key], Dirty::Yes);
}

void WorkQueue::add_unless_backing_off(const api::ObjectKey& key) {
  const std::scoped_lock lock(mutex_);
  if (shut_down_) return;
  auto& item = items_[key];
  if (!item.processing && is_backing_off(item)) return;
  add_now(key, item, Dirty::IfNotBackingOff);
}

void WorkQueue::add_hinted(const api::ObjectKey& key) {
  const std::scoped_lock lock(mutex_);
  if (shut_down_) return;
  auto& item = items_[key];
  if (item.processing || !is_backing_off(item)) {
    add_now(key, item, Dirty::IfNotBackingOff);
    return;
  }
  if (clock_.steady() - *item.failed < kEcho) return;
  delay_until(key, item, *item.failed + backoff(item.failures) / 2);
}

void WorkQueue::add_after(const api::ObjectKey& key, std::chrono::milliseconds delay) {
  const std::scoped_lock lock(mutex_);
  if (shut_down_) return;
  auto& item = items_[key];
  if (delay <= std::chrono::milliseconds::zero()) {
    add_now(key, item, Dirty::Yes);
  } else {
    delay_until(key, item, clock_.steady() + delay);
  }
}

std::uint32_t WorkQueue::add_rate_limited(const api::ObjectKey& key) {
  const std::scoped_lock lock(mutex_);
  auto& item = items_[key];
  if (item.failures < UINT32_MAX) ++item.failures;
  const auto failures = item.failures;
  if (shut_down_) return failures;
  metrics_of(key.kind).retries.add();
  item.failed = clock_.steady();
  delay_until(key, item, *item.failed + backoff(failures));
  return failures;
}

void WorkQueue::forget(const api::ObjectKey& key) {
  const std::scoped_lock lock(mutex_);
  if (const auto it = items_.find(key); it != items_.end()) {
    it->second.failures = 0;
    it->second.failed.reset();
  }
  drop_if_idle(key);
}

std::optional<api::ObjectKey> WorkQueue::get() {
  std::unique_lock lock(mutex_);
  for (;;) {
    release_due();
    if (auto key = pop()) return key;
    if (shut_down_ && processing_ == 0) return std::nullopt;
    // While keys are being worked on, done() may still push one of them: wait, also in shutdown.
    auto wait = kSafetyTick;
    if (!delayed_.empty()) wait = std::clamp(delayed_.begin()->first - clock_.steady(), std::chrono::milliseconds{1}, wait);
    ready_changed_.wait_for(lock, wait);
  }
}

std::optional<api::ObjectKey> WorkQueue::try_get() {
  const std::scoped_lock lock(mutex_);
  release_due();
  return pop();
}

void WorkQueue::done(const api::ObjectKey& key) {
  const std::scoped_lock lock(mutex_);
  const auto it = items_.find(key);
  if (it == items_.end() || !it->second.processing) return;
  auto& item = it->second;
  item.processing = false;
  --processing_;
  metrics_of(key.kind).work_seconds.observe(seconds(clock_.steady() - item.started_at));
  const auto dirty = std::exchange(item.dirty, Dirty::No);
  if (dirty == Dirty::Yes || (dirty == Dirty::IfNotBackingOff && !is_backing_off(item))) push(key, item);
  drop_if_idle(key);
  if (shut_down_ && processing_ == 0) {
    ready_changed_.notify_all();
    if (queue_.empty()) drained_.notify_all();
  }
}

void WorkQueue::shut_down() {
  const std::scoped_lock lock(mutex_);
  shut_down_ = true;
  for (const auto& [due, key] : delayed_) {
    items_[key].due.reset();
    drop_if_idle(key);
  }
  delayed_.clear();
  ready_changed_.notify_all();
  drained_.notify_all();
}

void WorkQueue::shut_down_and_drain() {
  shut_down();
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [&] { return queue_.empty() && processing_ == 0; });
}

std::size_t WorkQueue::ready() const {
  const std::scoped_lock lock(mutex_);
  const auto due = std::ranges::count_if(delayed_, [now = clock_.steady()](const auto& entry) { return entry.first <= now; });
  return queue_.size() + static_cast<std::size_t>(due);
}

std::size_t WorkQueue::delayed() const {
  const std::scoped_lock lock(mutex_);
  return delayed_.size();
}

std::size_t WorkQueue::processing() const {
  const std::scoped_lock lock(mutex_);
  return processing_;
}

std::uint32_t WorkQueue::failures(const api::ObjectKey& key) const {
  const std::scoped_lock lock(mutex_);
  const auto it = items_.find(key);
  return it == items_.end() ? 0 : it->second.failures;
}

std::optional<SteadyTime> WorkQueue::due(const api::ObjectKey& key) const {
  const std::scoped_lock lock(mutex_);
  const auto it = items_.find(key);
  return it == items_.end() ? std::nullopt : it->second.due;
}

std::optional<SteadyTime> WorkQueue::next_due() const {
  const std::scoped_lock lock(mutex_);
  return delayed_.empty() ? std::nullopt : std::optional(delayed_.begin()->first);
}

std::size_t WorkQueue::failing() const {
  const std::scoped_lock lock(mutex_);
  return static_cast<std::size_t>(std::ranges::count_if(items_, [](const auto& entry) { return is_backing_off(entry.second); }));
}

void WorkQueue::refresh_metrics() {
  const std::scoped_lock lock(mutex_);
  std::map<api::Kind, std::pair<double, double>> running;  // sum and maximum of seconds
  const auto now = clock_.steady();
  for (const auto& [key, item] : items_) {
    if (!item.processing) continue;
    auto& [sum, longest] = running[key.kind];
    const double age = seconds(now - item.started_at);
    sum += age;
    longest = std::max(longest, age);
  }
  for (auto& [kind, metrics] : kind_metrics_) {
    metrics.unfinished_seconds.set(running[kind].first);
    metrics.longest_seconds.set(running[kind].second);
  }
}

void WorkQueue::add_now(const api::ObjectKey& key, Item& item, Dirty dirty) {
  if (item.processing) {
    item.dirty = std::max(item.dirty, dirty);
  } else if (!item.queued) {
    push(key, item);
  }
}

void WorkQueue::push(const api::ObjectKey& key, Item& item) {
  cancel_delay(key, item);
  item.queued = true;
  item.queued_at = clock_.steady();
  queue_.push_back(key);
  auto& metrics = metrics_of(key.kind);
  metrics.adds.add();
  metrics.depth.add(1);
  ready_changed_.notify_one();
}

void WorkQueue::delay_until(const api::ObjectKey& key, Item& item, SteadyTime due) {
  if (item.queued) return;
  if (item.due && *item.due <= due) return;
  cancel_delay(key, item);
  item.due = due;
  delayed_.emplace(due, key);
  ready_changed_.notify_one();  // somebody may be waiting for a later time
}

void WorkQueue::cancel_delay(const api::ObjectKey& key, Item& item) {
  if (!item.due) return;
  delayed_.erase({*item.due, key});
  item.due.reset();
}

void WorkQueue::release_due() {
  const auto now = clock_.steady();
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const auto key = delayed_.begin()->second;
    auto& item = items_[key];
    cancel_delay(key, item);
    add_now(key, item, Dirty::Yes);
  }
}

std::optional<api::ObjectKey> WorkQueue::pop() {
  if (queue_.empty()) return std::nullopt;
  auto key = std::move(queue_.front());
  queue_.pop_front();
  auto& item = items_[key];
  item.queued = false;
  item.failed.reset();  // whatever this pass asks for next is no backoff unless it fails too
  item.processing = true;
  item.started_at = clock_.steady();
  ++processing_;
  auto& metrics = metrics_of(key.kind);
  metrics.depth.add(-1);
  metrics.queue_seconds.observe(seconds(item.started_at - item.queued_at));
  // Whoever was woken for this key is busy now: somebody else must watch over what is left.
  if (!queue_.empty() || !delayed_.empty()) ready_changed_.notify_one();
  return key;
}

void WorkQueue::drop_if_idle(const api::ObjectKey& key) {
  const auto it = items_.find(key);
  if (it == items_.end()) return;
  const auto& item = it->second;
  if (!item.queued && !item.processing && !item.due && item.failures == 0) items_.erase(it);
}

std::chrono::milliseconds WorkQueue::backoff(std::uint32_t failures) const {
  auto delay = options_.base_delay;
  for (std::uint32_t i = 1; i < failures && delay < options_.max_delay; ++i) delay *= 2;
  return std::min(delay, options_.max_delay);
}

WorkQueue::KindMetrics& WorkQueue::metrics_of(api::Kind kind) {
  if (const auto it = kind_metrics_.find(kind); it != kind_metrics_.end()) return it->second;
  const std::string name{api::info(kind).singular};
  const Labels labels{{"name", name}, {"controller", name}};
  return kind_metrics_
      .emplace(
          kind,
          KindMetrics{
              metrics_.gauge("workqueue_depth", "Keys that are ready and wait for a worker.", labels),
              metrics_.counter("workqueue_adds_total", "Keys put into the queue.", labels),
              metrics_.histogram("workqueue_queue_duration_seconds", "How long keys were ready before a worker took them.",
                                 workqueue_buckets(), labels),
              metrics_.histogram("workqueue_work_duration_seconds", "How long a pass over a key took.", workqueue_buckets(),
                                 labels),
              metrics_.counter("workqueue_retries_total", "Keys put back with a backoff.", labels),
              metrics_.gauge("workqueue_unfinished_work_seconds", "Seconds that passes now under way have taken, summed.",
                             labels),
              metrics_.gauge("workqueue_longest_running_processor_seconds", "Seconds of the longest pass now under way.", labels),
          })
      .first->second;
}

}  // namespace banger::controller
