// SPDX-License-Identifier: Apache-2.0
// Runs the reconcilers: turns changes of the store, hints of the host and the passing of time into keys, and keys into passes.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "actuators/host.hpp"
#include "base/clock.hpp"
#include "controller/health.hpp"
#include "controller/housekeeping.hpp"
#include "controller/metrics.hpp"
#include "controller/object_index.hpp"
#include "controller/work_queue.hpp"
#include "reconcilers/reconciler.hpp"
#include "store/objects.hpp"

namespace banger::controller {

struct ManagerOptions {
  std::size_t workers = 4;                          // threads, shared by all kinds
  std::chrono::milliseconds resync_period{30'000};  // how often the whole host is read
  std::chrono::milliseconds hint_gap{250};          // "anything may have changed" reads the whole host at most this often
  WorkQueueOptions queue;
  HousekeepingOptions housekeeping;  // the store is kept small on the manager's timer
  std::optional<SteadyTime> began;   // when the daemon was started; absent: with start()
};

// Level-triggered: a key says "look again", nothing more. A pass that fails, throws or answers an error is logged once and tried
// again with the key's own backoff; it never delays another key. Nothing passed in is owned; it must outlive the manager, except
// the host, whose hints become void when the manager goes.
class Manager {
 public:
  Manager(const ManagerOptions& options, store::Objects& objects, actuators::Host& host, Clock& clock, Metrics& metrics);
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Before start(). One reconciler a kind. Changes of kinds without one still reach every affected_by().
  void add(std::unique_ptr<reconcilers::Reconciler> reconciler);

  // Before start(). Runs the task on the timer thread now and then, every period; what it throws is logged.
  void every(std::chrono::milliseconds period, std::string name, std::function<void()> task);

  // Adopts what runs: reads the whole host once and compares every object with it. Then enqueues every object of every kind,
  // those that are not as they should be first, and starts the threads; ready from then on. Errors: the store's; nothing runs
  // then.
  Result<void> start();

  // Lets the passes under way end and starts no more. What was queued is found again by the next start(). Idempotent.
  void stop();

  [[nodiscard]] const Health& health() const { return health_; }
  [[nodiscard]] bool ready() const { return health_.ready(); }

  // Asks for a read of the whole host soon (at most one per hint_gap). From any thread.
  void resync_soon();

  // --- single steps, which the threads repeat; tests and the simulation call them instead of start() -------------------------
  Result<void> sync();                                                 // watch from now, list everything, enqueue everything
  Result<std::size_t> follow(std::chrono::milliseconds timeout = {});  // handle waiting changes; Gone: sync() again
  bool work_one();                                                     // one ready key, if any
  std::chrono::milliseconds tick();  // whatever is due by the clock; returns how long until something is

  WorkQueue& queue();

 private:
  struct Core;
  struct Comparison {
    std::size_t vmms = 0;     // verified ones that run
    std::size_t drifted = 0;  // objects that were enqueued
  };
  struct Task {
    std::string name;
    std::chrono::milliseconds period;
    std::function<void()> run;
    SteadyTime due{};
  };

  void schedule_housekeeping();
  Result<std::vector<api::Object>> list();
  void enqueue(const std::vector<api::Object>& objects);
  void adopt();
  Result<Comparison> compare();
  void handle(const store::Change& change);
  void resync();
  void work(const api::ObjectKey& key);
  reconcilers::Outcome guarded_reconcile(reconcilers::Reconciler& reconciler, const api::ObjectKey& key);
  void settle(const api::ObjectKey& key, const reconcilers::Outcome& outcome, std::string_view operation);
  void count(api::Kind kind, const reconcilers::Outcome& outcome, std::chrono::milliseconds took);
  void run_worker();
  void run_watch();
  void run_timer();
  std::shared_ptr<store::Watch> current_watch();

  const ManagerOptions options_;
  store::Objects& objects_;
  actuators::Host& host_;
  Clock& clock_;
  Metrics& metrics_;
  Health health_;
  std::shared_ptr<Core> core_;  // what hints may touch: shared with the host's callback
  std::map<api::Kind, std::unique_ptr<reconcilers::Reconciler>> reconcilers_;
  Housekeeping housekeeping_;
  std::vector<Task> tasks_;
  SteadyTime next_resync_{};
  std::optional<SteadyTime> last_resync_;
  std::mutex watch_mutex_;
  std::shared_ptr<store::Watch> watch_;
  std::atomic<std::uint64_t> operations_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace banger::controller
