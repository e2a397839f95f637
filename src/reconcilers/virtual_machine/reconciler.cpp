// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/reconciler.hpp"

#include <algorithm>
#include <optional>

#include "base/text.hpp"
#include "reconcilers/virtual_machine/carry_out.hpp"
#include "reconcilers/virtual_machine/observe.hpp"
#include "reconcilers/virtual_machine/plan.hpp"
#include "reconcilers/virtual_machine/situation.hpp"
#include "reconcilers/virtual_machine/status.hpp"
#include "store/visit.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

const api::VirtualMachineSpec& spec_of(const api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).spec; }

api::VirtualMachineStatus& status_in(api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).status; }

std::optional<Error> gone_or(const Error& error) {
  return error.code == ErrorCode::NotFound ? std::nullopt : std::optional(error);
}

// What VMs look at of an image, a kernel or a network is as it was.
template <class Facts>
bool same_facts(const store::Change& change, Facts (*facts)(const api::Object*)) {
  return change.previous && facts(&*change.previous) == facts(&change.object);
}

bool concerns_nobody(const store::Change& change) {
  if (change.type != store::ChangeType::Modified) return false;
  switch (api::kind_of(change.object)) {
    case api::Kind::Image:
      return same_facts(change, image_facts);
    case api::Kind::Kernel:
      return same_facts(change, kernel_facts);
    case api::Kind::Network:
      return same_facts(change, network_facts);
    default:
      return false;
  }
}

bool is_on(const api::VirtualMachineSpec& spec, const std::string& network) {
  return std::ranges::any_of(spec.network_interfaces, [&](const auto& nic) { return nic.network == network; });
}

// Looks of one pass: a start or an end makes progress look by look, and each status that is written is synced to disk.
constexpr int kLooks = 8;

// A start or an end whose next look is due at once. What vm.json has been told is told in the status too before anything is made
// of it; and what is found about a VM that runs is said before it is mended.
bool goes_on(const Plan& plan, const AppliedSteps& applied) {
  const bool recorded = std::ranges::any_of(
      plan.steps, [](const PlannedStep& each) { return std::holds_alternative<actuators::WriteSidecar>(each.step); });
  return plan.operation != Operation::None && !recorded && !applied.error && applied.passed_over.empty() && !plan.error &&
         plan.look_again == kAtOnce;
}

// A deletion that has just taken away what it could and waits a moment for the kernel: when its status says that it is being
// deleted, that is enough. A tap that does not go is told by the next look, a second later.
bool waits_for_taps(const api::Object& vm, const Plan& plan, const AppliedSteps& done, const actuators::VmView& host) {
  return vm.meta.deletion_time && std::get<api::VirtualMachine>(vm.body).status.phase == "Deleting" && done.mutations > 0 &&
         plan.steps.empty() && plan.events.empty() && !plan.error && plan.finalizer == FinalizerChange::Keep &&
         std::ranges::any_of(host.links, &actuators::LinkView::leaving);
}

// Nothing is known of it at the moment, and nothing is done to it: that is to be seen on the object too.
void say_unobserved(Ports& ports, const api::Object& vm, const Error& error) {
  auto next = vm;
  auto& conditions = status_in(next).conditions;
  const auto message = "it cannot be looked at: " + printable(error.message);
  const auto* before = api::find_condition(conditions, "Ready");
  if (before == nullptr || before->reason != "NotObserved")
    record(ports.events, vm, {{.type = api::EventType::Warning, .reason = "NotObserved", .message = message}});
  api::set_condition(conditions,
                     {.type = "Ready",
                      .status = api::ConditionStatus::Unknown,
                      .reason = "NotObserved",
                      .message = message,
                      .observed_generation = vm.meta.generation,
                      .last_transition_time = {}},
                     whole_seconds(ports.clock.wall()));
  // What kept it from being looked at may keep this from being written: the next look says it again.
  (void)write_status(ports.objects, vm, next);
}

}  // namespace

Outcome VirtualMachineReconciler::reconcile(const api::ObjectKey& key) {
  std::optional<api::Object> last;  // with a status that was not written, since another look followed
  AppliedSteps done;                // by all looks: mutations and their names
  for (int look = 1;; ++look) {
    const auto stored = ports_.objects.store().get(key);
    if (!stored) return outcome_of(gone_or(stored.error()), {}, done);
    auto vm = *stored;
    if (last && last->meta.uid == vm.meta.uid) status_in(vm) = status_in(*last);
    const auto observed = observe(ports_, layout_, vm);
    if (!observed) {
      if (observed.error().code != ErrorCode::Busy) say_unobserved(ports_, *stored, observed.error());  // busy: gone in a moment
      return outcome_of(observed.error(), {}, done);
    }
    const auto plan = plan_for(vm, *observed);
    const auto applied = carry_out(ports_, vm, plan);
    done.mutations += applied.mutations;
    done.changed.insert(done.changed.end(), applied.changed.begin(), applied.changed.end());
    record_events(ports_, vm, plan, applied);
    if (plan.finalizer == FinalizerChange::Remove && !applied.error) return outcome_of({}, {}, done);

    auto next = vm;
    status_in(next) = status_of(vm, *observed, plan, applied);
    if (look < kLooks && goes_on(plan, applied)) {
      last = std::move(next);
      continue;
    }
    if (!applied.error && waits_for_taps(*stored, plan, done, observed->host)) return outcome_of({}, plan.look_again, done);
    const auto written = write_status(ports_.objects, *stored, next);
    // What may fail is tried again in a while, not at once.
    const auto again = applied.passed_over.empty() ? plan.look_again : std::max(plan.look_again, std::optional(kSlowly));
    const auto error = applied.error ? applied.error : plan.error;
    // The store may be on the full disk that the guest waits for: the guest must not wait for the store's backoff too.
    const bool waits = observed->host.vmm.monitor == actuators::MonitorState::IoError;
    if (!error && !written && !waits) return outcome_of(written.error(), {}, done);
    return outcome_of(error, again, done);
  }
}

std::vector<api::ObjectKey> VirtualMachineReconciler::affected_by(const store::Change& change) {
  const auto kind = api::kind_of(change.object);
  if (concerns_nobody(change)) return {};
  std::string name = change.object.meta.name;
  if (kind == api::Kind::AddressLease) {
    if (change.type != store::ChangeType::Deleted) return {};
    name = std::get<api::AddressLease>(change.object.body).spec.network;  // an address became free
  } else if (kind != api::Kind::Image && kind != api::Kind::Kernel && kind != api::Kind::Network) {
    return {};
  }
  std::vector<api::ObjectKey> keys;
  const auto look = [&](const api::Object& vm) {
    const auto& spec = spec_of(vm);
    const bool pending = std::get<api::VirtualMachine>(vm.body).status.phase == "Pending";
    const bool refers = (kind == api::Kind::Image && spec.image == name) || (kind == api::Kind::Kernel && spec.kernel == name) ||
                        (kind == api::Kind::Network && is_on(spec, name)) ||
                        (kind == api::Kind::AddressLease && pending && is_on(spec, name));
    if (refers) keys.push_back(api::key_of(vm));
  };
  // A store that cannot be read changes nothing that could concern anybody.
  (void)store::visit(ports_.objects.store(), {.kind = api::Kind::VirtualMachine, .ns = std::nullopt}, look);
  return keys;
}

std::vector<api::ObjectKey> VirtualMachineReconciler::drifted(const actuators::HostView& host) {
  return drift_.find(ports_.objects, host, ports_.clock.wall());
}

}  // namespace banger::reconcilers::virtual_machine
