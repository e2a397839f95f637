// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/object.hpp"
#include "base/result.hpp"
#include "reconcilers/network/observed.hpp"
#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers::network {

// The name its bridge has or will have.
std::string wanted_bridge(const api::Object& network);

Result<Observed> observe(Ports& ports, const api::Object& network);

}  // namespace banger::reconcilers::network
