// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/object.hpp"
#include "base/result.hpp"
#include "reconcilers/image/observed.hpp"
#include "reconcilers/reconciler.hpp"

namespace banger::reconcilers::image {

Result<Observed> observe(Ports& ports, const api::Object& image);

}  // namespace banger::reconcilers::image
