// SPDX-License-Identifier: Apache-2.0
// One run: a host, a daemon that lives and dies on it, users and mishaps by a schedule, and rules that hold at every step and
// when everything has come to rest. One thread, virtual time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "controller/runtime.hpp"
#include "sim/faults.hpp"
#include "sim/host.hpp"
#include "sim/ledger.hpp"
#include "sim/model_store.hpp"
#include "sim/schedule.hpp"
#include "sim/trace.hpp"

namespace banger::simulation {

struct Report {
  std::optional<std::string> violation;
  std::uint64_t hash = 0;
  std::uint64_t steps = 0;  // calls of the host's ports and writes of the store
  std::uint64_t faults = 0;
  std::uint64_t passes = 0;
  std::chrono::milliseconds virtual_time{};
  std::vector<std::string> trace;
};

struct RunOptions {
  bool trace = false;
  std::filesystem::path directory;  // for RocksDB
};

class Simulation final : public Watcher {
 public:
  Simulation(const Schedule& schedule, const RunOptions& options, Coverage& coverage);
  ~Simulation() override;

  Report run();

 private:
  // One life of the daemon.
  struct Daemon {
    controller::Metrics metrics;
    controller::AdoptMode adopt_mode;
    std::unique_ptr<store::Store> store;
    std::unique_ptr<store::Objects> objects;
    std::unique_ptr<controller::Runtime> runtime;
  };

  void in_pass() override;
  void observed(const actuators::VmView& view) override { ledger_.observed(view); }
  void before(const actuators::Step& step) override { ledger_.before(step); }
  void after(const actuators::Step& step, const Result<actuators::Applied>& result) override { ledger_.after(step, result); }
  void told_otherwise(const actuators::Step& step) override { ledger_.told_otherwise(step); }

  // --- the daemon's life (daemon_life.cpp) ---
  void start_daemon();
  Result<void> boot(Daemon& daemon);
  Result<controller::RecoveryPlan> open(Daemon& daemon);
  Result<controller::RecoveryPlan> fill_lost(Daemon& daemon);
  void end_daemon();
  bool is_dead();
  bool turn();
  bool tick();
  SteadyTime next_time(SteadyTime latest) const;
  void advance(SteadyTime until);
  void advance(std::chrono::milliseconds by) { advance(clock_.steady() + by); }
  store::Objects* objects();  // of a daemon that lives

  // --- acts (acts.cpp) ---
  void execute(const Op& op);
  bool by_user(const Op& op);
  bool by_machine(const Op& op);
  bool by_calls(const Op& op);
  bool behind_our_back(const Op& op);
  bool on_disks(const Op& op);
  bool by_guest(const Op& op);
  bool by_somebody_else(const Op& op);
  void create_vm(std::uint32_t vm, std::uint32_t shape);
  void create_image();
  void create_waiting();
  template <class Change>
  void edit(std::uint32_t vm, Change change);
  void remove(const api::ObjectKey& key);
  std::string uid_of(std::uint32_t vm);
  void second_daemon();
  void remember(const api::Object& object);

  // --- the end (judgement.cpp) ---
  void freeze();
  bool settle(std::chrono::milliseconds limit);
  bool is_quiet();
  std::uint64_t written_so_far();
  void check_stability();
  void check_acknowledged();
  void check_rest();
  void check_vm(const api::Object& object);
  void check_running(const api::Object& object, const actuators::VmView& view);
  void check_stopped(const api::Object& object, const actuators::VmView& view);
  void delete_everything();
  void check_empty();

  const Schedule& schedule_;
  const RunOptions options_;
  Coverage& coverage_;
  ManualClock clock_;
  SeededRandom random_;
  Draw draw_;
  Trace trace_;
  actuators::Layout layout_{.state_dir = "/var/lib/banger", .run_dir = "/run/banger"};
  actuators::sim::SimHost sim_{layout_, clock_};
  Faults faults_;
  FaultyHost host_;
  Ledger ledger_{sim_};
  Platter platter_;
  std::unique_ptr<Daemon> daemon_;
  SteadyTime down_until_{};
  SteadyTime next_tick_{};
  std::size_t next_op_ = 0;
  SteadyTime op_due_{};
  bool in_op_ = false;
  SteadyTime disk_full_until_{};
  std::map<std::uint32_t, std::uint32_t> waiting_;  // VMs to be made as soon as their name is free, and their shape
  std::map<std::string, std::pair<std::string, api::VirtualMachineSpec>> acknowledged_;  // VMs by name: uid and spec
  store::Revision last_revision_ = 0;
  std::uint64_t passes_ = 0;
  std::uint32_t edits_ = 0;
  std::string unrest_;  // why it is not at rest
  SteadyTime quiet_since_{};
  std::size_t seen_mutations_ = 0;
  std::uint64_t seen_written_ = 0;
};

}  // namespace banger::simulation
