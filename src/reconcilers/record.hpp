// SPDX-License-Identifier: Apache-2.0
// Keeps object.json of a Network, an Image or a Kernel equal to the object, so that an empty database can be filled from it.
#pragma once

#include <vector>

#include "actuators/host.hpp"
#include "api/object.hpp"
#include "reconcilers/apply.hpp"
#include "reconcilers/publish.hpp"

namespace banger::reconcilers {

// Puts the step that brings the record up to date before all others, and says that a record could not be read. Nothing for an
// object without our finalizer: its record would be nobody's to remove.
void plan_record(const api::Object& object, const actuators::RecordView& record, std::vector<PlannedStep>& steps,
                 std::vector<PlannedEvent>& events);

}  // namespace banger::reconcilers
