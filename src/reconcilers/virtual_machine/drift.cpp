// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/drift.hpp"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/fnv1a.hpp"
#include "reconcilers/reconciler.hpp"
#include "reconcilers/virtual_machine/observe.hpp"
#include "reconcilers/virtual_machine/plan.hpp"
#include "store/visit.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

// Whether a guest answers is no part of a resync's view; passes look after that by themselves.
bool is_drift(const Plan& plan) {
  const bool acts = std::ranges::any_of(plan.steps, [](const PlannedStep& each) {
    const auto* job = std::get_if<actuators::StartJob>(&each.step);
    const bool probe = job != nullptr && job->key.name == "probe";
    return !probe && !std::holds_alternative<actuators::ForgetJob>(each.step);
  });
  return acts || !plan.claims.empty() || !plan.releases.empty() || plan.finalizer != FinalizerChange::Keep;
}

// What plans look at beside a VM and its view of the host, read once for all of them.
struct Surroundings {
  std::map<std::string, ImageFacts> images;
  std::map<std::string, KernelFacts> kernels;
  std::map<std::string, NetworkFacts> networks;
  std::unordered_map<std::string, api::AddressLeaseSpec> leases;  // by the object's name
};

template <class See>
void see_all(store::Objects& objects, api::Kind kind, See see) {
  // A store that cannot be read changes nothing that could concern anybody.
  (void)store::visit(objects.store(), {.kind = kind, .ns = std::nullopt}, see);
}

// Every write of an object gives it a version that no object had before.
std::uint64_t stamp_of_surroundings(store::Objects& objects) {
  std::uint64_t stamp = kFnv1aStart;
  const auto mix = [&](std::uint64_t number) { stamp = fnv1a_step(stamp, number); };
  for (const auto kind : {api::Kind::Image, api::Kind::Kernel, api::Kind::Network, api::Kind::AddressLease}) {
    mix(static_cast<std::uint64_t>(kind));
    mix(store::stamp(objects.store(), kind).value_or(0));
  }
  return stamp;
}

Surroundings look_around(store::Objects& objects) {
  Surroundings out;
  see_all(objects, api::Kind::Image, [&](const api::Object& each) { out.images.emplace(each.meta.name, image_facts(&each)); });
  see_all(objects, api::Kind::Kernel, [&](const api::Object& each) { out.kernels.emplace(each.meta.name, kernel_facts(&each)); });
  see_all(objects, api::Kind::Network,
          [&](const api::Object& each) { out.networks.emplace(each.meta.name, network_facts(&each)); });
  see_all(objects, api::Kind::AddressLease,
          [&](const api::Object& each) { out.leases.emplace(each.meta.name, std::get<api::AddressLease>(each.body).spec); });
  return out;
}

template <class Facts>
Facts facts_of(const std::map<std::string, Facts>& all, const std::string& name) {
  const auto found = all.find(name);
  return found == all.end() ? Facts{} : found->second;
}

// For one resync; looks around when the first VM is to be planned.
class Planner {
 public:
  Planner(store::Objects& objects, const actuators::Layout& layout, WallTime now) : objects_(objects) {
    context_.now = now;
    context_.layout = layout;
  }

  Plan plan(const api::Object& vm, const actuators::VmView& seen) {
    if (!around_) {
      around_ = look_around(objects_);
      context_.networks = around_->networks;
    }
    const auto& spec = std::get<api::VirtualMachine>(vm.body).spec;
    context_.image = facts_of(around_->images, spec.image);
    context_.kernel = facts_of(around_->kernels, spec.kernel);
    context_.leases = leases_of(seen);
    return plan_for(vm, context_, seen);
  }

 private:
  [[nodiscard]] std::vector<api::AddressLeaseSpec> leases_of(const actuators::VmView& seen) const {
    std::vector<api::AddressLeaseSpec> out;
    if (!seen.sidecar) return out;
    for (const auto& nic : seen.sidecar->nics) {
      const auto lease = around_->leases.find(lease_key_of(nic).name);
      if (lease != around_->leases.end()) out.push_back(lease->second);
    }
    return out;
  }

  store::Objects& objects_;
  std::optional<Surroundings> around_;
  Context context_;
};

}  // namespace

Drift::Memory Drift::take(std::uint64_t around) {
  const std::lock_guard lock(mutex_);
  auto taken = std::exchange(memory_, {});
  if (taken.around != around) taken.calm.clear();
  return taken;
}

void Drift::keep(Memory memory) {
  const std::lock_guard lock(mutex_);
  memory_ = std::move(memory);
}

std::vector<api::ObjectKey> Drift::find(store::Objects& objects, const actuators::HostView& host, WallTime now) {
  Memory next{.around = stamp_of_surroundings(objects), .calm = {}};
  auto last = take(next.around);
  next.calm.reserve(last.calm.size());
  std::unordered_map<std::string_view, const Shared<actuators::VmView>*> slices;
  slices.reserve(host.vms.size());
  for (const auto& [uid, view] : host.vms) slices.emplace(uid, &view);
  Planner planner(objects, layout_, now);
  std::vector<api::ObjectKey> keys;
  see_all(objects, api::Kind::VirtualMachine, [&](const api::Object& vm) {
    const auto slice = slices.find(vm.meta.uid);
    Calm given{.resource_version = vm.meta.resource_version, .view = std::nullopt};
    if (slice != slices.end()) given.view = *slice->second;
    const auto before = last.calm.find(vm.meta.uid);
    if (before != last.calm.end() && before->second == given) {
      next.calm.insert(last.calm.extract(before));
      return;
    }
    const auto plan = planner.plan(vm, given.view ? **given.view : actuators::VmView{.uid = vm.meta.uid});
    if (is_drift(plan)) {
      keys.push_back(api::key_of(vm));
    } else if (plan.look_again.value_or(kAtRest) >= kAtRest) {
      next.calm.emplace(vm.meta.uid, std::move(given));
    }
  });
  keep(std::move(next));
  return keys;
}

}  // namespace banger::reconcilers::virtual_machine
