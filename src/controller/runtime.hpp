// SPDX-License-Identifier: Apache-2.0
// The daemon between its ports: recorder of events, manager with every reconciler, garbage collector. bangerd starts its threads;
// the simulation takes its steps one by one.
#pragma once

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "base/clock.hpp"
#include "base/random.hpp"
#include "controller/adopt_mode.hpp"
#include "controller/event_recorder.hpp"
#include "controller/garbage.hpp"
#include "controller/manager.hpp"
#include "controller/metrics.hpp"
#include "controller/recovery.hpp"
#include "store/objects.hpp"

namespace banger::controller {

// How a lost database is filled: with the objects that every host has, after adopt mode was written down. What is passed in must
// outlive the answer.
RecoverySteps recovery_steps(actuators::Host& host, AdoptMode& adopt_mode);

// In adopt mode, also that of an earlier start: what bears a label and has no object waits for one of its name.
Result<void> claim_labelled(store::Objects& objects, actuators::Host& host, const AdoptMode& adopt_mode);

// Nothing in it is owned; it must outlive the runtime.
struct RuntimePorts {
  store::Objects& objects;
  actuators::Host& host;
  Clock& clock;
  Random& random;
  Metrics& metrics;
  AdoptMode& adopt_mode;
};

class Runtime {
 public:
  // loss: of the database that was opened; told as events.
  Runtime(const ManagerOptions& options, const RuntimePorts& ports, const actuators::Layout& layout, const RecoveryPlan& loss);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  EventRecorder& events() { return events_; }
  GarbageCollector& garbage() { return garbage_; }
  Manager& manager() { return manager_; }

 private:
  void tell_of_loss(const RuntimePorts& ports, const RecoveryPlan& loss);

  EventRecorder events_;
  GarbageCollector garbage_;
  Manager manager_;  // ends first: its tasks use the others
};

}  // namespace banger::controller
