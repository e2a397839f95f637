// SPDX-License-Identifier: Apache-2.0
// What a change of a field costs a running VM; read from the schema table, published in the docs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/virtual_machine.hpp"

namespace banger::api {

enum class UpdateClass { Live, Restart, Recreate, Immutable };

std::string_view to_string(UpdateClass update_class);

struct FieldChange {
  std::string field;  // "spec.memory"
  UpdateClass update_class = UpdateClass::Live;
  std::string from;  // as YAML would show it, shortened to 80 characters
  std::string to;
  bool operator==(const FieldChange&) const = default;
};

// Every leaf field (lists count as one) in which the two differ, in the order of the schema.
std::vector<FieldChange> changed_fields(const VirtualMachineSpec& from, const VirtualMachineSpec& to);

}  // namespace banger::api
