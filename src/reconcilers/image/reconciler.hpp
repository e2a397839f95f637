// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers::image {

class ImageReconciler final : public Reconciler {
 public:
  explicit ImageReconciler(Ports ports) : ports_(ports) {}

  api::Kind kind() const override { return api::Kind::Image; }

  // error: a step, the store, or a build that may succeed another time failed. requeue: at once after a start or an end of a
  // build, else every 30 s to see whether the source changed.
  Outcome reconcile(const api::ObjectKey& key) override;
  std::vector<api::ObjectKey> affected_by(const store::Change& change) override;
  std::vector<api::ObjectKey> drifted(const actuators::HostView& host) override;

 private:
  Ports ports_;
};

}  // namespace banger::reconcilers::image
