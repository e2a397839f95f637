// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/reconciler.hpp"

#include <algorithm>
#include <map>

#include "reconcilers/virtual_machine/carry_out.hpp"
#include "reconcilers/virtual_machine/observe.hpp"
#include "reconcilers/virtual_machine/plan.hpp"
#include "reconcilers/virtual_machine/status.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

const api::VirtualMachineSpec& spec_of(const api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).spec; }

bool is_on(const api::VirtualMachineSpec& spec, const std::string& network) {
  return std::ranges::any_of(spec.network_interfaces, [&](const auto& nic) { return nic.network == network; });
}

// Whether a guest answers is no part of a resync's view; passes look after that by themselves.
bool is_drift(const Plan& plan) {
  const bool acts = std::ranges::any_of(plan.steps, [](const PlannedStep& each) {
    const auto* job = std::get_if<actuators::StartJob>(&each.step);
    const bool probe = job != nullptr && job->key.name == "probe";
    return !probe && !std::holds_alternative<actuators::ForgetJob>(each.step);
  });
  return acts || !plan.claims.empty() || !plan.releases.empty() || plan.finalizer != FinalizerChange::Keep;
}

template <class Facts>
std::map<std::string, Facts> facts_by_name(store::Objects& objects, api::Kind kind, Facts (*facts)(const api::Object*)) {
  std::map<std::string, Facts> all;
  for (const auto& object : list_all(objects, kind)) all.emplace(object.meta.name, facts(&object));
  return all;
}

template <class Facts>
Facts facts_of(const std::map<std::string, Facts>& all, const std::string& name) {
  const auto found = all.find(name);
  return found == all.end() ? Facts{} : found->second;
}

}  // namespace

Outcome VirtualMachineReconciler::reconcile(const api::ObjectKey& key) {
  const auto vm = ports_.objects.store().get(key);
  if (!vm) return vm.error().code == ErrorCode::NotFound ? Outcome{} : outcome_of(vm.error(), {}, 0);
  const auto observed = observe(ports_, layout_, *vm);
  if (!observed) return outcome_of(observed.error(), {}, 0);
  const auto plan = plan_for(*vm, *observed);
  const auto applied = carry_out(ports_, *vm, plan);
  record_events(ports_, *vm, plan, applied);
  if (plan.finalizer == FinalizerChange::Remove && !applied.error) return outcome_of({}, {}, applied);

  auto next = *vm;
  std::get<api::VirtualMachine>(next.body).status = status_of(*vm, *observed, plan, applied);
  const auto written = write_status(ports_.objects, *vm, next);
  const auto error = applied.error ? applied.error : plan.error;
  if (!error && !written) return outcome_of(written.error(), {}, applied);
  return outcome_of(error, plan.look_again, applied);
}

std::vector<api::ObjectKey> VirtualMachineReconciler::affected_by(const store::Change& change) {
  const auto kind = api::kind_of(change.object);
  std::string name = change.object.meta.name;
  if (kind == api::Kind::AddressLease) {
    if (change.type != store::ChangeType::Deleted) return {};
    name = std::get<api::AddressLease>(change.object.body).spec.network;  // an address became free
  } else if (kind != api::Kind::Image && kind != api::Kind::Kernel && kind != api::Kind::Network) {
    return {};
  }
  std::vector<api::ObjectKey> keys;
  for (const auto& vm : list_all(ports_.objects, api::Kind::VirtualMachine)) {
    const auto& spec = spec_of(vm);
    const bool pending = std::get<api::VirtualMachine>(vm.body).status.phase == "Pending";
    const bool refers = (kind == api::Kind::Image && spec.image == name) || (kind == api::Kind::Kernel && spec.kernel == name) ||
                        (kind == api::Kind::Network && is_on(spec, name)) ||
                        (kind == api::Kind::AddressLease && pending && is_on(spec, name));
    if (refers) keys.push_back(api::key_of(vm));
  }
  return keys;
}

std::vector<api::ObjectKey> VirtualMachineReconciler::drifted(const actuators::HostView& host) {
  const auto images = facts_by_name<ImageFacts>(ports_.objects, api::Kind::Image, image_facts);
  const auto kernels = facts_by_name<KernelFacts>(ports_.objects, api::Kind::Kernel, kernel_facts);
  Context context;
  context.now = ports_.clock.wall();
  context.layout = layout_;
  context.networks = facts_by_name<NetworkFacts>(ports_.objects, api::Kind::Network, network_facts);
  std::vector<api::ObjectKey> keys;
  for (const auto& vm : list_all(ports_.objects, api::Kind::VirtualMachine)) {
    const auto slice = host.vms.find(vm.meta.uid);
    const auto absent = actuators::VmView{.uid = vm.meta.uid};
    const auto& seen = slice == host.vms.end() ? absent : slice->second;
    context.image = facts_of(images, spec_of(vm).image);
    context.kernel = facts_of(kernels, spec_of(vm).kernel);
    context.leases = leases_in_use(ports_.objects, seen);
    if (is_drift(plan_for(vm, context, seen))) keys.push_back(api::key_of(vm));
  }
  return keys;
}

}  // namespace banger::reconcilers::virtual_machine
