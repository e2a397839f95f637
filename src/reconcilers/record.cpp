// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/record.hpp"

#include "actuators/record.hpp"
#include "base/text.hpp"

namespace banger::reconcilers {

void plan_record(const api::Object& object, const actuators::RecordView& record, std::vector<PlannedStep>& steps,
                 std::vector<PlannedEvent>& events) {
  if (!has_finalizer(object)) return;
  if (record.object && actuators::is_record_of(*record.object, object)) return;
  steps.insert(steps.begin(), {.name = "Record", .step = actuators::WriteRecord{actuators::record_of(object)}, .undo = {}});
  if (record.error.empty()) return;
  events.push_back({.type = api::EventType::Warning,
                    .reason = "RecordUnreadable",
                    .message = printable(record.error) + "; it is written anew"});
}

}  // namespace banger::reconcilers
