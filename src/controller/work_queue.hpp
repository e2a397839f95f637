// SPDX-License-Identifier: Apache-2.0
// Keys that need a look: each at most once in the queue, never at two workers, with a backoff of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "api/meta.hpp"
#include "base/clock.hpp"
#include "controller/metrics.hpp"

namespace banger::controller {

struct WorkQueueOptions {
  std::chrono::milliseconds base_delay{5};       // after the first failure; doubles with each further one
  std::chrono::milliseconds max_delay{300'000};  // 5 min
};

// One place in the queue a key, whatever it is asked for: an immediate add replaces a pending delayed one, of two delayed ones
// the earlier stays, and what comes while the key is being worked on makes exactly one more pass. (client-go keeps delayed
// entries apart, which inflates backoff: kubernetes#112325.) Thread-safe. Times are compared on the injected clock; a waiting
// get() also looks again every 10 s of real time.
class WorkQueue {
 public:
  WorkQueue(const WorkQueueOptions& options, Clock& clock, Metrics& metrics);

  // Look at once: the key's backoff is not waited for (a user's edit is not delayed by earlier failures).
  void add(const api::ObjectKey& key);

  // Look at once unless the key is backing off after a failure: then its delayed entry stands. For changes that a pass itself
  // makes (a status write), which would otherwise turn every failure into a hot loop.
  void add_unless_backing_off(const api::ObjectKey& key);

  // The host says that something may have changed. A key that is backing off takes it for its failing pass's own echo (a tap that
  // was undone, a job that ended) while kEcho lasts; after that it is looked at once half of its backoff is over. So the pauses
  // double whatever a failing pass stirs up, and what truly changed during a long one is seen earlier.
  static constexpr std::chrono::milliseconds kEcho{1'000};
  void add_hinted(const api::ObjectKey& key);

  // Look after this delay at the latest; not positive: at once.
  void add_after(const api::ObjectKey& key, std::chrono::milliseconds delay);

  // Counts a failure and looks again after the backoff it makes: base_delay · 2^(failures-1), at most max_delay. Returns the
  // number of failures in a row.
  std::uint32_t add_rate_limited(const api::ObjectKey& key);

  // Success: the next failure starts at base_delay again. A pending delayed entry stays.
  void forget(const api::ObjectKey& key);

  // The next key, whose worker must call done(). get() waits; nothing: the queue was shut down and is empty. try_get() does not
  // wait; nothing: no key is ready.
  std::optional<api::ObjectKey> get();
  std::optional<api::ObjectKey> try_get();
  void done(const api::ObjectKey& key);

  // New keys are dropped from now on, delayed ones too; ready ones are still handed out.
  void shut_down();
  // shut_down(), and waits until every key handed out is done and the queue is empty. Needs workers that go on calling get().
  void shut_down_and_drain();

  [[nodiscard]] std::size_t ready() const;    // keys that a get() would hand out now
  [[nodiscard]] std::size_t delayed() const;  // keys that wait for their time
  [[nodiscard]] std::size_t processing() const;
  [[nodiscard]] std::uint32_t failures(const api::ObjectKey& key) const;
  [[nodiscard]] std::optional<SteadyTime> due(const api::ObjectKey& key) const;  // of a delayed key
  [[nodiscard]] std::optional<SteadyTime> next_due() const;                      // of the first of them; nothing: none waits
  [[nodiscard]] std::size_t failing() const;                                     // keys that back off

  // Sets the gauges that are computed: unfinished work and the longest running pass.
  void refresh_metrics();

 private:
  enum class Dirty { No, IfNotBackingOff, Yes };
  struct Item {
    bool queued = false;
    bool processing = false;
    Dirty dirty = Dirty::No;  // asked for while processing
    std::optional<SteadyTime> due;
    std::optional<SteadyTime> failed;  // when the backoff that due is the end of began; nothing: due is none
    std::uint32_t failures = 0;
    SteadyTime queued_at{};
    SteadyTime started_at{};
  };
  struct KindMetrics {
    Gauge& depth;
    Counter& adds;
    Histogram& queue_seconds;
    Histogram& work_seconds;
    Counter& retries;
    Gauge& unfinished_seconds;
    Gauge& longest_seconds;
  };

  // All below need mutex_.
  void add_now(const api::ObjectKey& key, Item& item, Dirty dirty);
  void push(const api::ObjectKey& key, Item& item);
  void delay_until(const api::ObjectKey& key, Item& item, SteadyTime due);
  void cancel_delay(const api::ObjectKey& key, Item& item);
  [[nodiscard]] static bool is_backing_off(const Item& item) { return item.failed && item.due; }
  void release_due();
  std::optional<api::ObjectKey> pop();
  void drop_if_idle(const api::ObjectKey& key);
  [[nodiscard]] std::chrono::milliseconds backoff(std::uint32_t failures) const;
  KindMetrics& metrics_of(api::Kind kind);

  const WorkQueueOptions options_;
  Clock& clock_;
  Metrics& metrics_;
  mutable std::mutex mutex_;
  std::condition_variable ready_changed_;
  std::condition_variable drained_;
  std::map<api::ObjectKey, Item> items_;
  std::deque<api::ObjectKey> queue_;
  std::set<std::pair<SteadyTime, api::ObjectKey>> delayed_;
  std::map<api::Kind, KindMetrics> kind_metrics_;
  std::size_t processing_ = 0;
  bool shut_down_ = false;
};

}  // namespace banger::controller
