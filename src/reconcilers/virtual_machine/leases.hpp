// SPDX-License-Identifier: Apache-2.0
// Which addresses a VM is to have: those it holds already, the fixed ones, else the next free ones. Pure.
#pragma once

#include <optional>
#include <vector>

#include "actuators/sidecar.hpp"
#include "api/object.hpp"
#include "reconcilers/publish.hpp"
#include "reconcilers/virtual_machine/observed.hpp"

namespace banger::reconcilers::virtual_machine {

struct LeasePlan {
  std::vector<api::AddressLeaseSpec> claims;    // to be created, each an atomic claim
  std::vector<api::AddressLeaseSpec> releases;  // held and not wanted any more
  std::vector<actuators::NicRecord> nics;       // when there is nothing to claim: the interfaces as they will be
  std::optional<Finding> problem;               // AddressConflict or AddressesExhausted; nothing else is set then
  bool operator==(const LeasePlan&) const = default;
};

// Needs every Network of the spec to have a range. Free addresses are tried from a hash of namespace and name on, so that a VM
// made anew under the same name tends to get its old address.
LeasePlan plan_leases(const api::Object& vm, const Context& context, const actuators::Sidecar* sidecar);

}  // namespace banger::reconcilers::virtual_machine
