// SPDX-License-Identifier: Apache-2.0
// Keeps object.json of a Network, an Image or a Kernel equal to the object, so that an empty database can be filled from it.
#pragma once

#include <variant>
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

// The object; where its status is empty, with what its record tells of it: what was made from a source is not made again for
// that.
template <class Body>
api::Object with_recorded_status(api::Object object, const actuators::RecordView& record) {
  auto& status = std::get<Body>(object.body).status;
  if (status != decltype(Body::status){} || !record.object || record.object->meta.uid != object.meta.uid) return object;
  if (const auto* kept = std::get_if<Body>(&record.object->body)) status = kept->status;
  return object;
}

}  // namespace banger::reconcilers
