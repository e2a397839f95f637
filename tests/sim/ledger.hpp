// SPDX-License-Identifier: Apache-2.0
// What an onlooker writes down about every VM, and the rules that no step may break. It goes by what was done to the model, never
// by what the daemon believes; only what was wanted is read from the store.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/sim/sim_host.hpp"
#include "store/store.hpp"

namespace banger::simulation {

// Of one VM, by its uid.
struct VmFacts {
  std::set<std::string> ran;        // disks that a guest may have written to
  std::set<std::string> told;       // of these, those that a status named
  std::set<std::string> lost;       // of these, those that somebody took away
  std::set<std::string> addresses;  // of the launch that lives
  std::string restart_nonce;        // of the last launch
  bool has_ssh = false;
  bool launched = false;
  bool launch_failed = false;  // the daemon was told so: it may undo it
  bool answered = false;       // in this launch
  bool reachable = true;
  bool honest = true;        // its sync confirms
  bool running = true;       // what its monitor says
  bool asked = false;        // in this launch it was asked to sync, and did not confirm
  bool synced = false;       // in this launch, seen by the daemon
  bool powered_off = false;  // by itself, in this launch
  bool hurt = false;         // a tap or device that it uses was taken away in this launch
  bool ending = false;       // a kill was called for in this launch
  bool marked = false;       // it stands in vm.json that this launch ends
};

class Ledger {
 public:
  explicit Ledger(actuators::sim::SimHost& host) : host_(host) {}

  void use(store::Store* store) { store_ = store; }
  void observed(const actuators::VmView& view);
  void before(const actuators::Step& step);
  void after(const actuators::Step& step, const Result<actuators::Applied>& result);
  void told_otherwise(const actuators::Step& step);

  // Somebody else's things: they stay exactly as they are.
  void add_foreign(const actuators::LinkView& link) { foreign_links_.push_back(link); }
  void add_foreign_nat(const std::string& table) { foreign_nats_.push_back(table); }
  void check_foreign();
  void collect_everything(bool may) { everything_ = may; }
  void host_rebooted();
  void daemon_ended();  // what it saw and did not write down is lost with it
  // Called after the loss.
  void disks_lost(const std::string& uid, const std::set<std::string>& disks);
  void record_lost(const std::string& uid);
  void database_lost();

  VmFacts& of(const std::string& uid) { return vms_[uid]; }
  [[nodiscard]] std::vector<std::string> uids() const {
    std::vector<std::string> all;
    for (const auto& [uid, facts] : vms_) all.push_back(uid);
    return all;
  }
  [[nodiscard]] bool database_was_lost() const { return database_lost_; }
  [[nodiscard]] bool has_foreign() const { return !foreign_links_.empty() || !foreign_nats_.empty(); }

  void fail(std::string_view rule, const std::string& what);
  [[nodiscard]] const std::optional<std::string>& violation() const { return violation_; }

 private:
  std::optional<api::Object> object_of(const std::string& uid);
  bool may_end(const std::string& uid);
  void before_kill(const std::string& uid);
  void before_record(const actuators::Sidecar& sidecar);
  void before_disk(const std::string& uid, const std::string& disk);
  void forget_unknowable(const std::string& uid, bool database);
  void launched(const actuators::LaunchVmm& launch);
  bool lives(const std::string& uid) const { return host_.vmm_count(uid) > 0; }

  actuators::sim::SimHost& host_;
  store::Store* store_ = nullptr;
  std::map<std::string, VmFacts> vms_;
  std::vector<actuators::LinkView> foreign_links_;
  std::vector<std::string> foreign_nats_;
  bool everything_ = false;
  bool database_lost_ = false;
  bool lived_before_ = false;  // the VM of the step under way
  std::optional<std::string> violation_;
};

}  // namespace banger::simulation
