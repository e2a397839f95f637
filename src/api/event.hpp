// SPDX-License-Identifier: Apache-2.0
// Kind Event: something happened to an object; repeats are counted, not listed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "api/meta.hpp"

namespace banger::api {

enum class EventType { Normal, Warning };

struct Event {
  ObjectKey involved;
  std::string involved_uid;
  EventType type = EventType::Normal;
  std::string reason;  // CamelCase
  std::string message;
  std::int64_t count = 1;
  std::optional<WallTime> first_time;
  std::optional<WallTime> last_time;
  bool operator==(const Event&) const = default;
};

}  // namespace banger::api
