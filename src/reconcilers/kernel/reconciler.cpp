// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/kernel/reconciler.hpp"

#include "reconcilers/kernel/observe.hpp"
#include "reconcilers/kernel/plan.hpp"
#include "reconcilers/kernel/status.hpp"
#include "reconcilers/record.hpp"

namespace banger::reconcilers::kernel {

Outcome KernelReconciler::reconcile(const api::ObjectKey& key) {
  const auto stored = ports_.objects.store().get(key);
  if (!stored) return stored.error().code == ErrorCode::NotFound ? Outcome{} : outcome_of(stored.error(), {}, 0);
  const auto observed = observe(ports_, *stored);
  if (!observed) return outcome_of(observed.error(), {}, 0);
  const auto kernel = with_recorded_status<api::Kernel>(*stored, observed->host.record);
  const auto plan = plan_for(kernel, *observed);
  const auto finalized = change_finalizer(ports_.objects, *stored, plan.finalizer);
  if (!finalized) return outcome_of(finalized.error(), {}, 0);
  if (plan.finalizer == FinalizerChange::Remove) return {};
  const auto applied = apply_steps(ports_.host, ports_.clock, plan.steps);

  record(ports_.events, kernel, plan.events);
  if (applied.error)
    record(ports_.events, kernel, {{api::EventType::Warning, applied.failed + "Failed", applied.error->message}});
  auto next = kernel;
  std::get<api::Kernel>(next.body).status = status_of(kernel, *observed, plan, applied);
  const auto written = write_status(ports_.objects, *stored, next);
  const auto error = applied.error ? applied.error : plan.error;
  if (!error && !written) return outcome_of(written.error(), {}, applied);
  return outcome_of(error, plan.look_again, applied);
}

// A kernel depends on nothing but files.
std::vector<api::ObjectKey> KernelReconciler::affected_by(const store::Change&) { return {}; }

// A resync does not look at files; every pass says when to look again.
std::vector<api::ObjectKey> KernelReconciler::drifted(const actuators::HostView&) { return {}; }

}  // namespace banger::reconcilers::kernel
