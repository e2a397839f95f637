// SPDX-License-Identifier: Apache-2.0
// How the daemon starts, runs and ends in virtual time: what its threads do, done one thing after another.
#include <algorithm>

#include "controller/recovery.hpp"
#include "reconcilers/kinds.hpp"
#include "sim/simulation.hpp"

namespace banger::simulation {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kMostPasses = 6'000;  // a daemon that needs more than this in one run goes round in circles

}  // namespace

store::Objects* Simulation::objects() { return daemon_ ? daemon_->objects.get() : nullptr; }

// As controller::open_state() does for a database in a directory.
Result<controller::RecoveryPlan> Simulation::fill_lost(Daemon& daemon) {
  auto steps = controller::recovery_steps(host_, daemon.adopt_mode);
  controller::RecoveryInput input{.directory = "db", .damage = "", .set_aside = ""};
  BGR_TRY(input.records, host_.records());
  BGR_TRY(input.labels, steps.labels(input.labelled));
  input.floor = platter_.floor;
  auto plan = controller::plan_recovery(input);
  Platter beside;
  beside.text = platter_.text;
  beside.table.set_revision(plan.base);
  {
    const auto made = open_model_store(beside, faults_, trace_);
    store::Objects filled(*made, clock_, random_);
    const auto done = controller::carry_out(plan, filled);
    platter_.killed = platter_.killed || beside.killed;
    BGR_CHECK(done);
    filled.claim(plan.claims);
    const auto ensured = steps.ensure(filled);
    platter_.killed = platter_.killed || beside.killed;
    BGR_CHECK(ensured);
    plan.claims = filled.claims();
  }
  if (!plan.report.empty()) {
    BGR_CHECK(steps.before(plan));
    platter_.adopting = daemon.adopt_mode.why();
  }
  platter_.floor = std::max(platter_.floor, plan.base);
  platter_.table = std::move(beside.table);
  platter_.lost = false;
  return plan;
}

Result<controller::RecoveryPlan> Simulation::open(Daemon& daemon) {
  if (schedule_.rocksdb) {
    BGR_TRY(auto opened, controller::open_state((options_.directory / "db").string(), {host_, clock_, random_},
                                                controller::recovery_steps(host_, daemon.adopt_mode)));
    daemon.store = std::move(opened.store);
    return std::move(opened.plan);
  }
  controller::RecoveryPlan plan;
  if (platter_.lost) {
    BGR_TRY(plan, fill_lost(daemon));
  }
  daemon.store = open_model_store(platter_, faults_, trace_);
  store::Objects first(*daemon.store, clock_, random_);
  BGR_CHECK(reconcilers::ensure_builtins(first));
  return plan;
}

Result<void> Simulation::boot(Daemon& daemon) {
  if (!platter_.adopting.empty()) BGR_CHECK(daemon.adopt_mode.enter(platter_.adopting));
  BGR_TRY(const auto plan, open(daemon));
  if (schedule_.rocksdb) platter_.adopting = daemon.adopt_mode.why();
  daemon.objects = std::make_unique<store::Objects>(*daemon.store, clock_, random_);
  if (!plan.claims.empty()) daemon.objects->claim(plan.claims);
  BGR_CHECK(controller::claim_labelled(*daemon.objects, host_, daemon.adopt_mode));
  daemon.runtime = std::make_unique<controller::Runtime>(
      controller::ManagerOptions{},
      controller::RuntimePorts{*daemon.objects, host_, clock_, random_, daemon.metrics, daemon.adopt_mode}, layout_, plan);
  return daemon.runtime->manager().sync();
}

void Simulation::start_daemon() {
  auto daemon = std::make_unique<Daemon>();
  Result<void> booted;
  try {
    booted = boot(*daemon);
  } catch (const actuators::sim::SimCrash&) {
    platter_.killed = true;
  }
  daemon_ = std::move(daemon);
  if (is_dead() || !booted) {
    if (!booted) trace_.line("the daemon does not start: {}", booted.error().message);
    end_daemon();
    return;
  }
  ledger_.use(daemon_->store.get());
  next_tick_ = clock_.steady();
  trace_.line("the daemon serves at revision {}", daemon_->store->revision());
  check_acknowledged();
}

bool Simulation::is_dead() { return platter_.killed || host_.killed(); }

// As a SIGKILL ends it: nothing is flushed, nothing said.
void Simulation::end_daemon() {
  trace_.line("the daemon is gone");
  if (daemon_ && daemon_->store) ledger_.daemon_ended();
  ledger_.use(nullptr);
  platter_.killed = true;
  if (daemon_) platter_.adopting = daemon_->adopt_mode.why();
  daemon_.reset();
  platter_.killed = false;
  host_.bury();
  down_until_ = clock_.steady() + milliseconds{draw_.one_in(4) ? draw_.below(60'000) : draw_.below(50)};
}

bool Simulation::tick() {
  auto& manager = daemon_->runtime->manager();
  if (clock_.steady() < next_tick_) return false;
  // A hint that anything may have changed asks for a resync within the manager's hint gap.
  next_tick_ = clock_.steady() + std::clamp(manager.tick(), milliseconds{1}, milliseconds{250});
  return manager.queue().ready() > 0;
}

// One thing that can be done now, if any.
bool Simulation::turn() {
  bool any = host_.deliver_due();
  auto& manager = daemon_->runtime->manager();
  const bool followed = !draw_.one_in(4);
  const auto follow = [&] {
    const auto changes = manager.follow();
    return changes && *changes > 0;
  };
  if (followed) any = follow() || any;
  if (manager.work_one()) {
    if (++passes_ == kMostPasses) ledger_.fail("I10", "the daemon goes round in circles: " + unrest_);
    clock_.advance(milliseconds{1});
    return true;
  }
  if (!followed) any = follow() || any;
  return tick() || any;
}

SteadyTime Simulation::next_time(SteadyTime latest) const {
  auto next = std::min(latest, next_tick_);
  if (const auto due = daemon_->runtime->manager().queue().next_due()) next = std::min(next, *due);
  if (const auto due = host_.next_due()) next = std::min(next, *due);
  return next;
}

void Simulation::advance(SteadyTime until) {
  while (clock_.steady() < until && !ledger_.violation()) {
    if (disk_full_until_ != SteadyTime{} && clock_.steady() >= disk_full_until_) {
      disk_full_until_ = {};
      platter_.full = false;
      host_.set_disk_full(false);
      sim_.set_space(actuators::SpaceLevel::Plenty);
    }
    if (!daemon_) {
      if (clock_.steady() < down_until_) {
        clock_.advance(std::min(down_until_, until) - clock_.steady());
        continue;
      }
      start_daemon();
      continue;
    }
    const bool any = turn();
    if (is_dead()) {
      end_daemon();
      continue;
    }
    create_waiting();
    if (!any) clock_.advance(std::max(next_time(until) - clock_.steady(), milliseconds{1}));
  }
}

}  // namespace banger::simulation
