// SPDX-License-Identifier: Apache-2.0
// Validation of values: bounds and formats by the rows, then the rules that relate several fields.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"
#include "api/schema.hpp"

namespace banger::api::schema {

// Bounds, formats, lengths and list keys of the fields below owner.
void check_fields(std::span<const Field> fields, const void* owner, const std::string& path, std::vector<Refusal>& refusals);

// Metadata and spec (an event's own fields) by the rows, and the syntax of names and labels.
void check_object(const Object& object, std::vector<Refusal>& refusals);

// What relates several fields of a spec.
void check_rules(const Object& object, std::vector<Refusal>& refusals);

// What may not become of old. Both are of one kind.
void check_change(const Object& old, const Object& object, std::vector<Refusal>& refusals);

void refuse(std::vector<Refusal>& refusals, std::string field, std::string_view reason, std::string message);

}  // namespace banger::api::schema
