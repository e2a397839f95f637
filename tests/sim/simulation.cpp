// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.hpp"

namespace banger::simulation {

using std::chrono::milliseconds;
using std::chrono::minutes;

Simulation::Simulation(const Schedule& schedule, const RunOptions& options, Coverage& coverage)
    : schedule_(schedule),
      options_(options),
      coverage_(coverage),
      random_(schedule.seed),
      draw_(schedule.seed ^ 0x5eed),
      trace_(clock_, options.trace),
      faults_(Draw(schedule.seed ^ 0xfa17), coverage_),
      host_(sim_, clock_, faults_, trace_, *this, Draw(schedule.seed ^ 0x4057)) {
  platter_.text = schedule.text;
  if (!schedule.text) sim_.be_quick();
  sim_.set_device_mapper(schedule.device_mapper);
  sim_.add_file("/srv/demo.tar", mib(10), 7);
  sim_.add_host_kernel(
      {.version = "6.1.0-1-cloud-amd64", .path = "/boot/vmlinuz-6.1.0-1", .modules_dir = "/lib/modules/6.1.0-1"});
}

Simulation::~Simulation() { ledger_.use(nullptr); }

Report Simulation::run() {
  start_daemon();
  create_image();
  if (!schedule_.ops.empty()) op_due_ = clock_.steady() + schedule_.ops.front().wait;
  while (next_op_ < schedule_.ops.size() && !ledger_.violation()) {
    advance(op_due_);
    if (next_op_ < schedule_.ops.size() && clock_.steady() >= op_due_) execute(schedule_.ops[next_op_]);
    if (is_dead()) end_daemon();
  }
  freeze();
  if (!ledger_.violation() && !settle(minutes(10))) ledger_.fail("I1", "it does not come to rest within 10 minutes: " + unrest_);
  if (!ledger_.violation()) check_rest();
  if (!ledger_.violation()) check_stability();
  if (!ledger_.violation()) delete_everything();

  Report report{.violation = ledger_.violation(), .faults = faults_.met(), .passes = passes_};
  report.virtual_time = clock_.steady().time_since_epoch();
  daemon_.reset();
  report.hash = trace_.hash();
  report.trace = trace_.lines();
  return report;
}

}  // namespace banger::simulation
