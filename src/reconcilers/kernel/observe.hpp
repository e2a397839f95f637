// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/object.hpp"
#include "base/result.hpp"
#include "reconcilers/kernel/observed.hpp"
#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers::kernel {

Result<Observed> observe(Ports& ports, const api::Object& kernel);

}  // namespace banger::reconcilers::kernel
