// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers::network {

class NetworkReconciler final : public Reconciler {
 public:
  explicit NetworkReconciler(Ports ports) : ports_(ports) {}

  api::Kind kind() const override { return api::Kind::Network; }

  // error: a step or the store failed. requeue at once: what it takes was written down, or something was made and is to be
  // observed. 30 s: a conflict, or a deletion that waits for VMs. Neither: as it should be.
  Outcome reconcile(const api::ObjectKey& key) override;
  std::vector<api::ObjectKey> affected_by(const store::Change& change) override;
  std::vector<api::ObjectKey> drifted(const actuators::HostView& host) override;

 private:
  Ports ports_;
};

}  // namespace banger::reconcilers::network
