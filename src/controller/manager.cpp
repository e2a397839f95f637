// SPDX-License-Identifier: Apache-2.0
#include "controller/manager.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <optional>

#include "base/log.hpp"

namespace banger::controller {
namespace {

constexpr std::chrono::milliseconds kWatchWait{500};
constexpr std::chrono::milliseconds kStoreRetry{1'000};
constexpr std::chrono::milliseconds kLongestNap{10'000};
constexpr std::chrono::milliseconds kOwnWriteSettles{1'000};
constexpr std::size_t kChangesAtOnce = 256;

// A pass writes the status of its own object; everything else in an object is somebody's wish.
bool is_status_write(const store::Change& change) {
  if (change.type != store::ChangeType::Modified || !change.previous) return false;
  auto before = change.previous->meta;
  before.resource_version = change.object.meta.resource_version;
  return before == change.object.meta;
}

// Runs it; what it threw, if anything. Whatever comes out of a reconciler or a task must not end the daemon.
std::optional<std::string> thrown_by(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const std::exception& thrown) {
    return thrown.what();
  } catch (...) {
    return "something that is not a std::exception";
  }
}

std::string controller_label(api::Kind kind) { return std::string(api::info(kind).singular); }

}  // namespace

struct Manager::Core {
  Core(const WorkQueueOptions& options, Clock& clock, Metrics& metrics) : queue(options, clock, metrics) {}

  WorkQueue queue;
  ObjectIndex index;
  std::mutex mutex;
  std::condition_variable wake_timer;
  bool resync_wanted = false;

  void want_resync() {
    const std::scoped_lock lock(mutex);
    resync_wanted = true;
    wake_timer.notify_all();
  }

  // An unknown uid is an object that is not stored (any more), or not yet seen: then its own change enqueues it.
  void hint(const std::string& uid) {
    if (uid.empty()) {
      want_resync();
    } else if (const auto key = index.find(uid)) {
      queue.add_hinted(*key);
    }
  }
};

Manager::Manager(const ManagerOptions& options, store::Objects& objects, actuators::Host& host, Clock& clock, Metrics& metrics)
    : options_(options),
      objects_(objects),
      host_(host),
      clock_(clock),
      metrics_(metrics),
      core_(std::make_shared<Core>(options.queue, clock, metrics)),
      housekeeping_(options.housekeeping, objects, clock) {
  schedule_housekeeping();
  next_resync_ = clock_.steady() + options_.resync_period;
  host_.on_hint([weak = std::weak_ptr<Core>(core_)](const std::string& uid) {
    if (const auto core = weak.lock()) core->hint(uid);
  });
  metrics_.before_text([weak = std::weak_ptr<Core>(core_), &metrics] {
    const auto core = weak.lock();
    if (!core) return;
    core->queue.refresh_metrics();
    for (const auto& [phase, vms] : core->index.vm_phases()) {
      metrics.gauge("banger_vms", "Virtual machines by status.phase.", {{"phase", phase}}).set(static_cast<double>(vms));
    }
  });
}

Manager::~Manager() { stop(); }

void Manager::schedule_housekeeping() {
  every(options_.housekeeping.compaction_period, "compact the store", [this] {
    if (const auto done = housekeeping_.compact(); !done) {
      log::warning("compacting the store failed, will retry", {{"error", done.error().message}});
    }
  });
  every(options_.housekeeping.event_period, "expire events", [this] {
    if (const auto done = housekeeping_.expire_events(); !done) {
      log::warning("expiring events failed, will retry", {{"error", done.error().message}});
    }
  });
}

void Manager::add(std::unique_ptr<reconcilers::Reconciler> reconciler) {
  const auto kind = reconciler->kind();
  metrics_
      .gauge("controller_runtime_max_concurrent_reconciles", "Workers that may run passes of this kind at once.",
             {{"controller", controller_label(kind)}})
      .set(static_cast<double>(options_.workers));
  reconcilers_[kind] = std::move(reconciler);
}

void Manager::every(std::chrono::milliseconds period, std::string name, std::function<void()> task) {
  tasks_.push_back({.name = std::move(name), .period = period, .run = std::move(task), .due = clock_.steady() + period});
}

WorkQueue& Manager::queue() { return core_->queue; }

void Manager::resync_soon() { core_->want_resync(); }

Result<void> Manager::start() {
  BGR_TRY(const auto objects, list());
  adopt();
  enqueue(objects);
  health_.set_ready(true);
  threads_.emplace_back([this] { run_watch(); });
  threads_.emplace_back([this] { run_timer(); });
  for (std::size_t i = 0; i < options_.workers; ++i) threads_.emplace_back([this] { run_worker(); });
  return {};
}

void Manager::stop() {
  stopping_ = true;
  health_.set_ready(false);
  core_->queue.shut_down();
  {
    const std::scoped_lock lock(core_->mutex);
    core_->wake_timer.notify_all();
  }
  if (const auto watch = current_watch()) watch->wake();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

// The watch begins before the lists: what changes in between is seen twice, never missed.
Result<std::vector<api::Object>> Manager::list() {
  BGR_TRY(auto watch, objects_.store().watch({.after = objects_.store().revision()}));
  std::vector<api::Object> all;
  for (const auto& kind : api::kinds()) {
    if (kind.kind == api::Kind::Event) continue;
    BGR_TRY(auto listing, objects_.store().list({.kind = kind.kind}));
    std::ranges::move(listing.objects, std::back_inserter(all));
  }
  {
    const std::scoped_lock lock(watch_mutex_);
    watch_ = std::move(watch);
  }
  for (const auto& key : core_->index.rebuild(all)) {
    if (reconcilers_.contains(key.kind)) core_->queue.add(key);
  }
  return all;
}

void Manager::enqueue(const std::vector<api::Object>& objects) {
  for (const auto& object : objects) {
    if (reconcilers_.contains(api::kind_of(object))) core_->queue.add(api::key_of(object));
  }
}

Result<void> Manager::sync() {
  BGR_TRY(const auto objects, list());
  enqueue(objects);
  if (!stopping_) health_.set_ready(true);
  return {};
}

// What cannot be read now is left to the passes and the first resync.
void Manager::adopt() {
  const auto began = options_.began.value_or(clock_.steady());
  last_resync_ = clock_.steady();
  next_resync_ = *last_resync_ + options_.resync_period;
  const auto compared = compare();
  if (!compared) {
    log::warning("reading the host failed, every object is looked at by itself", {{"error", compared.error().message}});
    return;
  }
  const std::chrono::duration<double> took = clock_.steady() - began;
  metrics_.gauge("banger_adoption_seconds", "From the start of the daemon until everything that ran was compared with the store.")
      .set(took.count());
  log::info(fmt::format("adopted {} virtual machines, {} need a pass", compared->vmms, compared->drifted),
            {{"seconds", fmt::format("{:.3f}", took.count())}});
}

std::shared_ptr<store::Watch> Manager::current_watch() {
  const std::scoped_lock lock(watch_mutex_);
  return watch_;
}

Result<std::size_t> Manager::follow(std::chrono::milliseconds timeout) {
  const auto watch = current_watch();
  if (!watch) {
    BGR_CHECK(sync());
    return 0;
  }
  auto changes = watch->next(kChangesAtOnce, timeout);
  if (!changes) {
    if (changes.error().code == ErrorCode::Gone) {
      log::info("the store's changes ran ahead of the watch, listing everything again");
    } else {
      log::warning("watching the store failed, listing everything again", {{"error", changes.error().message}});
    }
    BGR_CHECK(sync());
    return 0;
  }
  for (const auto& change : *changes) handle(change);
  return changes->size();
}

void Manager::handle(const store::Change& change) {
  const auto key = api::key_of(change.object);
  if (key.kind == api::Kind::Event) return;  // nothing depends on events
  core_->index.apply(change);
  if (reconcilers_.contains(key.kind)) {
    if (is_status_write(change)) {
      // The pass that wrote it has said when to look again. One more look for whatever else writes statuses, once it is quiet.
      if (core_->queue.failures(key) == 0) core_->queue.add_after(key, kOwnWriteSettles);
    } else {
      core_->queue.add(key);
    }
  }
  for (const auto& [kind, reconciler] : reconcilers_) {
    const auto thrown = thrown_by([&] {
      for (const auto& affected : reconciler->affected_by(change)) core_->queue.add(affected);
    });
    if (thrown) {
      log::error("looking for keys affected by a change failed",
                 {{"controller", controller_label(kind)}, {"change", api::to_string(key)}, {"error", *thrown}});
    }
  }
}

bool Manager::work_one() {
  const auto key = core_->queue.try_get();
  if (key) work(*key);
  return key.has_value();
}

void Manager::work(const api::ObjectKey& key) {
  const auto found = reconcilers_.find(key.kind);
  if (found == reconcilers_.end()) {  // affected_by() named a kind that nobody reconciles
    core_->queue.forget(key);
    core_->queue.done(key);
    return;
  }
  const std::string operation = fmt::format("{:06x}", ++operations_);
  auto& active = metrics_.gauge("controller_runtime_active_workers", "Workers that run a pass of this kind now.",
                                {{"controller", controller_label(key.kind)}});
  active.add(1);
  const auto started = clock_.steady();
  const auto outcome = guarded_reconcile(*found->second, key);
  active.add(-1);
  count(key.kind, outcome, clock_.steady() - started);
  settle(key, outcome, operation);
  core_->queue.done(key);
}

reconcilers::Outcome Manager::guarded_reconcile(reconcilers::Reconciler& reconciler, const api::ObjectKey& key) {
  reconcilers::Outcome outcome;
  const auto thrown = thrown_by([&] { outcome = reconciler.reconcile(key); });
  if (!thrown) return outcome;
  metrics_
      .counter("controller_runtime_reconcile_panics_total", "Passes that ended in an exception.",
               {{"controller", controller_label(key.kind)}})
      .add();
  return {.error = internal("reconcile threw: " + *thrown), .requeue_after = std::nullopt, .mutations = 0};
}

void Manager::settle(const api::ObjectKey& key, const reconcilers::Outcome& outcome, std::string_view operation) {
  auto& queue = core_->queue;
  if (outcome.error) {
    const auto attempt = queue.add_rate_limited(key);
    log::warning("reconcile failed, will retry", {{"kind", std::string(api::info(key.kind).name)},
                                                  {"key", key.ns.empty() ? key.name : key.ns + "/" + key.name},
                                                  {"op", std::string(operation)},
                                                  {"attempt", fmt::format("{}", attempt)},
                                                  {"error", outcome.error->message}});
    return;
  }
  using reconcilers::kAtRest;
  const bool at_rest = outcome.requeue_after.value_or(kAtRest) >= kAtRest;
  if (at_rest && outcome.mutations == 0) queue.forget(key);
  // What repaired it after failures is looked at once more: only one that finds nothing to do ends the count of them.
  if (at_rest && outcome.mutations > 0 && queue.failures(key) > 0) queue.add_after(key, kOwnWriteSettles);
  if (outcome.requeue_after) queue.add_after(key, *outcome.requeue_after);
  if (outcome.mutations > 0) {
    log::debug("reconciled", {{"kind", std::string(api::info(key.kind).name)},
                              {"key", key.ns.empty() ? key.name : key.ns + "/" + key.name},
                              {"op", std::string(operation)},
                              {"mutations", fmt::format("{}", outcome.mutations)}});
  }
}

void Manager::count(api::Kind kind, const reconcilers::Outcome& outcome, std::chrono::milliseconds took) {
  const std::string controller = controller_label(kind);
  const std::string result = outcome.error ? "error" : outcome.requeue_after ? "requeue_after" : "success";
  metrics_
      .counter("controller_runtime_reconcile_total", "Passes by their result.", {{"controller", controller}, {"result", result}})
      .add();
  auto& errors = metrics_.counter("controller_runtime_reconcile_errors_total", "Passes that ended in an error.",
                                  {{"controller", controller}});
  if (outcome.error) errors.add();
  metrics_
      .histogram("controller_runtime_reconcile_time_seconds", "How long a pass took.", reconcile_buckets(),
                 {{"controller", controller}})
      .observe(std::chrono::duration<double>(took).count());
  metrics_.counter("banger_host_mutations_total", "Steps that changed something on the host.", {{"controller", controller}})
      .add(static_cast<double>(outcome.mutations));
  for (const auto step : outcome.changed) {
    metrics_.counter("banger_mutations_total", "Changes of the host, by the step that made them.", {{"step", std::string(step)}})
        .add();
  }
}

// Enqueues what is not as it should be.
Result<Manager::Comparison> Manager::compare() {
  const auto started = clock_.steady();
  BGR_TRY(const auto view, host_.observe_all(core_->index.networks()));
  Comparison out;
  for (const auto& [uid, vm] : view.vms) out.vmms += vm->vmm.vmm ? 1 : 0;
  for (const auto& [kind, reconciler] : reconcilers_) {
    const auto thrown = thrown_by([&] {
      for (const auto& key : reconciler->drifted(view)) {
        core_->queue.add_unless_backing_off(key);
        ++out.drifted;
      }
    });
    if (thrown) log::error("looking for drift failed", {{"controller", controller_label(kind)}, {"error", *thrown}});
  }
  metrics_.histogram("banger_resync_seconds", "How long reading the whole host and comparing it took.", reconcile_buckets())
      .observe(std::chrono::duration<double>(clock_.steady() - started).count());
  health_.resynced(clock_.wall());
  return out;
}

void Manager::resync() {
  if (const auto compared = compare(); !compared)
    log::warning("reading the host failed, will retry at the next resync", {{"error", compared.error().message}});
}

std::chrono::milliseconds Manager::tick() {
  bool wanted = false;
  {
    const std::scoped_lock lock(core_->mutex);
    wanted = core_->resync_wanted;
  }
  const auto earliest = last_resync_ ? *last_resync_ + options_.hint_gap : clock_.steady();
  if (wanted) next_resync_ = std::min(next_resync_, earliest);
  if (next_resync_ <= clock_.steady()) {
    {
      const std::scoped_lock lock(core_->mutex);
      core_->resync_wanted = false;  // before the read: what is hinted during it is read again
    }
    last_resync_ = clock_.steady();
    next_resync_ = *last_resync_ + options_.resync_period;
    resync();
  }
  auto next = next_resync_;
  for (auto& task : tasks_) {
    if (task.due <= clock_.steady()) {
      if (const auto thrown = thrown_by(task.run)) {
        log::error("a periodic task failed", {{"task", task.name}, {"error", *thrown}});
      }
      task.due = clock_.steady() + task.period;
    }
    next = std::min(next, task.due);
  }
  return std::clamp(next - clock_.steady(), std::chrono::milliseconds{0}, kLongestNap);
}

void Manager::run_worker() {
  while (!stopping_) {
    const auto key = core_->queue.get();
    if (!key) return;
    if (stopping_) {
      core_->queue.done(*key);
      return;
    }
    work(*key);
  }
}

void Manager::run_watch() {
  while (!stopping_) {
    const auto followed = follow(kWatchWait);
    if (followed || stopping_) continue;
    log::error("listing the store failed, will retry", {{"error", followed.error().message}});
    std::unique_lock lock(core_->mutex);
    core_->wake_timer.wait_for(lock, kStoreRetry, [this] { return stopping_.load(); });
  }
}

void Manager::run_timer() {
  while (!stopping_) {
    const auto nap = std::max(tick(), std::chrono::milliseconds{1});
    std::unique_lock lock(core_->mutex);
    const auto gap_end = last_resync_ ? *last_resync_ + options_.hint_gap : clock_.steady();
    const auto gap_left = gap_end - clock_.steady();
    if (gap_left > std::chrono::milliseconds::zero()) {  // hints that come now are collected until the gap is over
      core_->wake_timer.wait_for(lock, std::min(nap, gap_left), [this] { return stopping_.load(); });
    } else {
      core_->wake_timer.wait_for(lock, nap, [this] { return stopping_ || core_->resync_wanted; });
    }
  }
}

}  // namespace banger::controller
