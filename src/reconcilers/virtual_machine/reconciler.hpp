// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actuators/names.hpp"
#include "reconcilers/reconciler.hpp"
#include "reconcilers/virtual_machine/drift.hpp"

namespace banger::reconcilers::virtual_machine {

class VirtualMachineReconciler final : public Reconciler {
 public:
  VirtualMachineReconciler(Ports ports, actuators::Layout layout) : ports_(ports), layout_(std::move(layout)), drift_(layout_) {}

  api::Kind kind() const override { return api::Kind::VirtualMachine; }

  // error: a step, a job or the store failed; what a failed start had made is undone. requeue at once: something was made or
  // ended and is to be observed. 100 ms … 2 s: waits for a VMM or a guest. 30 s: runs, or waits for another object. Neither: it
  // is down and stays so.
  Outcome reconcile(const api::ObjectKey& key) override;
  std::vector<api::ObjectKey> affected_by(const store::Change& change) override;
  std::vector<api::ObjectKey> drifted(const actuators::HostView& host) override;

 private:
  Ports ports_;
  const actuators::Layout layout_;
  Drift drift_;
};

}  // namespace banger::reconcilers::virtual_machine
