// SPDX-License-Identifier: Apache-2.0
#include "controller/runtime.hpp"

#include <chrono>
#include <utility>

#include "controller/cow_metrics.hpp"
#include "reconcilers/kinds.hpp"

namespace banger::controller {
namespace {

constexpr std::chrono::milliseconds kEventFlush{10'000};
constexpr std::chrono::milliseconds kOrphanLook{60'000};

}  // namespace

RecoverySteps recovery_steps(actuators::Host& host, AdoptMode& adopt_mode) {
  RecoverySteps steps;
  steps.ensure = [](store::Objects& objects) { return reconcilers::ensure_builtins(objects); };
  steps.before = [&adopt_mode](const RecoveryPlan& plan) { return adopt_mode.enter(plan.report); };
  steps.labels = [&host](std::size_t& labelled) { return owner_labels(host, labelled); };
  return steps;
}

Result<void> claim_labelled(store::Objects& objects, actuators::Host& host, const AdoptMode& adopt_mode) {
  if (!adopt_mode.active()) return {};
  std::size_t labelled = 0;
  BGR_TRY(const auto labels, owner_labels(host, labelled));
  BGR_TRY(auto claims, claims_left(labels, host, objects.store()));
  objects.claim(std::move(claims));
  return {};
}

Runtime::Runtime(const ManagerOptions& options, const RuntimePorts& ports, const actuators::Layout& layout,
                 const RecoveryPlan& loss)
    : events_(ports.objects, ports.clock),
      garbage_(ports.objects, ports.host, ports.adopt_mode, ports.metrics),
      manager_(options, ports.objects, ports.host, ports.clock, ports.metrics) {
  tell_of_loss(ports, loss);
  ports.metrics.before_text([&objects = ports.objects, &metrics = ports.metrics] { publish_cow_fill(objects, metrics); });
  manager_.every(kOrphanLook, "collect what belongs to no object", [this] { garbage_.run(); });
  manager_.every(kEventFlush, "write the counts of repeated events", [this] { events_.flush(); });
  for (auto& reconciler :
       reconcilers::make_reconcilers({ports.objects, ports.host, events_, ports.clock, ports.random}, layout)) {
    manager_.add(std::move(reconciler));
  }
}

// Where a person looks: an event on the one object that every host has.
void Runtime::tell_of_loss(const RuntimePorts& ports, const RecoveryPlan& loss) {
  const api::ObjectKey key{.kind = api::Kind::Network, .ns = "", .name = "default"};
  const auto network = ports.objects.store().get(key);
  const auto uid = network ? network->meta.uid : "";
  if (!loss.report.empty()) events_.record(key, uid, api::EventType::Warning, "StateLost", loss.report);
  for (const auto& problem : loss.problems) events_.record(key, uid, api::EventType::Warning, "NotRestored", problem);
  if (ports.adopt_mode.active()) events_.record(key, uid, api::EventType::Warning, "AdoptMode", ports.adopt_mode.text());
  ports.adopt_mode.on_leave([this, key, uid](const std::string& how) {
    events_.record(key, uid, api::EventType::Normal, "AdoptModeEnded", "what no manifest declares may go again: " + how);
  });
}

}  // namespace banger::controller
