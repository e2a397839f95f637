// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "api/object.hpp"
#include "base/result.hpp"
#include "reconcilers/reconciler.hpp"
#include "reconcilers/virtual_machine/observed.hpp"

namespace banger::reconcilers::virtual_machine {

Result<Observed> observe(Ports& ports, const actuators::Layout& layout, const api::Object& vm);

// The parts, for a resync that has read the host and the other kinds already.
ImageFacts image_facts(const api::Object* image);
KernelFacts kernel_facts(const api::Object* kernel);
NetworkFacts network_facts(const api::Object* network);

api::ObjectKey lease_key(const std::string& network, const std::string& address);

api::ObjectKey lease_key_of(const actuators::NicRecord& nic);

// The leases of the sidecar's interfaces that exist.
std::vector<api::AddressLeaseSpec> leases_in_use(store::Objects& objects, const actuators::VmView& host);

}  // namespace banger::reconcilers::virtual_machine
