// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers::kernel {

class KernelReconciler final : public Reconciler {
 public:
  explicit KernelReconciler(Ports ports) : ports_(ports) {}

  api::Kind kind() const override { return api::Kind::Kernel; }

  // error: a step, the store, or making the initrd failed. requeue: at once after the initrd was asked for,
  // else every minute to see whether a newer package was installed.
  Outcome reconcile(const api::ObjectKey& key) override;
  std::vector<api::ObjectKey> affected_by(const store::Change& change) override;
  std::vector<api::ObjectKey> drifted(const actuators::HostView& host) override;

 private:
  Ports ports_;
};

}  // namespace banger::reconcilers::kernel
