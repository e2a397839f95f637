// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/image/reconciler.hpp"

#include "reconcilers/image/observe.hpp"
#include "reconcilers/image/plan.hpp"
#include "reconcilers/image/status.hpp"
#include "reconcilers/record.hpp"

namespace banger::reconcilers::image {

Outcome ImageReconciler::reconcile(const api::ObjectKey& key) {
  const auto stored = ports_.objects.store().get(key);
  if (!stored) return stored.error().code == ErrorCode::NotFound ? Outcome{} : outcome_of(stored.error(), {}, 0);
  const auto observed = observe(ports_, *stored);
  if (!observed) return outcome_of(observed.error(), {}, 0);
  const auto image = with_recorded_status<api::Image>(*stored, observed->host.record);
  const auto plan = plan_for(image, *observed);
  const auto finalized = change_finalizer(ports_.objects, *stored, plan.finalizer);
  if (!finalized) return outcome_of(finalized.error(), {}, 0);
  if (plan.finalizer == FinalizerChange::Remove) return {};
  const auto applied = apply_steps(ports_.host, ports_.clock, plan.steps);

  record(ports_.events, image, plan.events);
  if (applied.error) record(ports_.events, image, {{api::EventType::Warning, applied.failed + "Failed", applied.error->message}});
  auto next = image;
  std::get<api::Image>(next.body).status = status_of(image, *observed, plan, applied);
  const auto written = write_status(ports_.objects, *stored, next);
  const auto error = applied.error ? applied.error : plan.error;
  if (!error && !written) return outcome_of(written.error(), {}, applied);
  return outcome_of(error, plan.look_again, applied);
}

// An image depends on nothing but a file.
std::vector<api::ObjectKey> ImageReconciler::affected_by(const store::Change&) { return {}; }

// A resync does not look at files; every pass says when to look at the source again.
std::vector<api::ObjectKey> ImageReconciler::drifted(const actuators::HostView&) { return {}; }

}  // namespace banger::reconcilers::image
