// SPDX-License-Identifier: Apache-2.0
// The simulated host as the daemon meets it: with faults at its calls, hints that go astray, jobs that take time, and somebody
// who looks at every step.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "actuators/sim/sim_host.hpp"
#include "sim/faults.hpp"
#include "sim/trace.hpp"

namespace banger::simulation {

// Called around every step. before: of a step that may still fail; after: with what the daemon will never hear of when it is
// killed by it.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void in_pass() = 0;  // between two calls: the world may move
  virtual void observed(const actuators::VmView& view) = 0;
  virtual void before(const actuators::Step& step) = 0;
  virtual void after(const actuators::Step& step, const Result<actuators::Applied>& result) = 0;
  virtual void told_otherwise(const actuators::Step& step) = 0;  // it was done, and the daemon hears that it failed
};

class FaultyHost final : public actuators::Host {
 public:
  FaultyHost(actuators::sim::SimHost& host, ManualClock& clock, Faults& faults, Trace& trace, Watcher& watcher, Draw draw)
      : host_(host), clock_(clock), faults_(faults), trace_(trace), watcher_(watcher), draw_(draw) {}

  Result<actuators::VmView> observe_vm(const std::string& uid, std::size_t nic_count) override;
  Result<actuators::NetworkView> observe_network(const actuators::NetworkQuery& query) override;
  Result<actuators::ImageView> observe_image(const actuators::ImageQuery& query) override;
  Result<actuators::KernelView> observe_kernel(const actuators::KernelQuery& query) override;
  Result<actuators::HostView> observe_all(const std::vector<actuators::NetworkQuery>& networks) override;
  Result<std::vector<actuators::StoredRecord>> records() override;
  Result<std::vector<actuators::HostObject>> inventory() override;
  Result<actuators::Applied> apply(const actuators::Step& step) override;
  void on_hint(std::function<void(const std::string& uid)> callback) override;

  // --- what the schedule says ---
  void set_hints(std::uint32_t lose, std::uint32_t delay, std::uint32_t repeat) {
    lose_ = lose, delay_ = delay, repeat_ = repeat;
  }
  void set_slow_jobs(std::uint32_t longest_ms);
  void set_disk_full(bool full) { disk_full_ = full; }
  void kill_daemon();  // the next call of it finds itself dead
  void bury();         // the dead daemon is gone, and its jobs with it
  [[nodiscard]] bool killed() const { return killed_; }

  // Hints and ends of jobs whose time has come; true if there were any. When the next is due.
  bool deliver_due();
  [[nodiscard]] std::optional<SteadyTime> next_due() const;

 private:
  struct Later {
    SteadyTime due;
    std::string uid;
  };
  std::optional<Error> fault_of_read(Place place);
  Result<actuators::Applied> carry_out(const actuators::Step& step);
  void start_slowly(const actuators::Step& step);
  void pass_on(const std::string& uid);
  [[noreturn]] void die(std::string_view where);

  actuators::sim::SimHost& host_;
  ManualClock& clock_;
  Faults& faults_;
  Trace& trace_;
  Watcher& watcher_;
  Draw draw_;
  std::function<void(const std::string&)> callback_;
  std::vector<Later> hints_;
  std::vector<Later> jobs_;  // by name
  std::uint32_t lose_ = 0;   // one in so many; 0: none
  std::uint32_t delay_ = 0;
  std::uint32_t repeat_ = 0;
  std::uint32_t longest_job_ms_ = 0;
  bool disk_full_ = false;
  bool killed_ = false;
};

}  // namespace banger::simulation
