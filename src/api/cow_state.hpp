// SPDX-License-Identifier: Apache-2.0
// What has become of a root disk's space for writes, in one word, as tables, descriptions and metrics show it.
#pragma once

#include <string_view>
#include <vector>

#include "api/meta.hpp"

namespace banger::api {

enum class CowState {
  Ok,        // also when all of it is used and the disk can need no more
  Overflow,  // full: writes of the guest fail, nothing is lost
  Invalid,   // given up by the kernel: reads fail too
};

// By the conditions of the VM.
inline CowState cow_state(const std::vector<Condition>& conditions) {
  const auto is = [&](std::string_view type) {
    const auto* found = find_condition(conditions, type);
    return found != nullptr && found->status == ConditionStatus::True;
  };
  if (is("RootDiskInvalid")) return CowState::Invalid;
  return is("RootDiskFull") ? CowState::Overflow : CowState::Ok;
}

}  // namespace banger::api
