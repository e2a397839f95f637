// SPDX-License-Identifier: Apache-2.0
// Where rooms below the controller say what happened to an object. Repeats are counted by the implementation.
#pragma once

#include <string>
#include <string_view>

#include "api/event.hpp"

namespace banger::api {

class EventSink {
 public:
  virtual ~EventSink() = default;
  // uid may be empty when the object does not exist (a refused document of a manifest file names the source object instead).
  virtual void record(const ObjectKey& involved, const std::string& uid, EventType type, std::string_view reason,
                      std::string_view message) = 0;
};

}  // namespace banger::api
