// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/carry_out.hpp"

#include <fmt/format.h>

#include "base/text.hpp"
#include "reconcilers/virtual_machine/observe.hpp"
#include "reconcilers/virtual_machine/status.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

// One object a name: creating it is the claim.
Result<void> claim(store::Objects& objects, const api::AddressLeaseSpec& lease) {
  api::Object object;
  object.meta.name = lease_key(lease.network, lease.address).name;
  object.body = api::AddressLease{.spec = lease};
  const auto created = objects.create(std::move(object));
  if (created) return {};
  auto error = created.error().error;
  if (error.code == ErrorCode::AlreadyExists) error.code = ErrorCode::Conflict;  // another VM was faster: look again
  return fail(with_context(std::move(error), fmt::format("leasing {} of the Network {}", lease.address, lease.network)));
}

Result<void> release(store::Objects& objects, const api::AddressLeaseSpec& lease) {
  const auto key = lease_key(lease.network, lease.address);
  const auto stored = objects.store().get(key);
  if (!stored) return stored.error().code == ErrorCode::NotFound ? Result<void>{} : fail(stored.error());
  if (std::get<api::AddressLease>(stored->body).spec.vm_uid != lease.vm_uid) return {};
  const auto removed = objects.remove(key, {.uid = stored->meta.uid, .resource_version = std::nullopt});
  if (removed || removed.error().error.code == ErrorCode::NotFound) return {};
  return fail(with_context(removed.error().error, "giving back " + lease.address));
}

AppliedSteps failed(std::string what, Error error) {
  AppliedSteps applied;
  applied.failed = std::move(what);
  applied.error = std::move(error);
  return applied;
}

}  // namespace

AppliedSteps carry_out(Ports& ports, const api::Object& vm, const Plan& plan) {
  if (plan.finalizer == FinalizerChange::Add) {
    const auto added = change_finalizer(ports.objects, vm, plan.finalizer);
    if (!added) return failed("Finalizer", added.error());
  }
  for (const auto& lease : plan.claims) {
    const auto claimed = claim(ports.objects, lease);
    if (!claimed) return failed("Address", claimed.error());
  }
  auto applied = apply_steps(ports.host, ports.clock, plan.steps);
  if (applied.error) return applied;
  for (const auto& lease : plan.releases) {
    const auto released = release(ports.objects, lease);
    if (!released) return failed("Address", released.error());
  }
  if (plan.finalizer == FinalizerChange::Remove) {
    const auto removed = change_finalizer(ports.objects, vm, plan.finalizer);
    if (!removed) return failed("Finalizer", removed.error());
  }
  return applied;
}

void record_events(Ports& ports, const api::Object& vm, const Plan& plan, const AppliedSteps& applied) {
  if (!applied.error) return record(ports.events, vm, plan.events);
  record(ports.events, vm,
         {{api::EventType::Warning, "Failed" + applied.failed.substr(0, applied.failed.find('/')),
           printable(applied.error->message)}});
  for (const auto& undo : applied.undo_errors)
    record(ports.events, vm, {{api::EventType::Warning, "FailedUndo", printable(undo)}});
}

}  // namespace banger::reconcilers::virtual_machine
