// SPDX-License-Identifier: Apache-2.0
// Values of the schema to JSON.
#pragma once

#include <boost/json/fwd.hpp>
#include <span>
#include <string>

#include "api/schema.hpp"

namespace banger::api::schema {

// The value at the address, of this type. field, if given, decides between ways to write it (octal modes).
boost::json::value encode_value(const Type& type, const Field* field, const void* value);

// The fields of the struct at owner, in the order of the rows; what is empty and empty by default is left out.
boost::json::object encode_fields(std::span<const Field> fields, const void* owner, const void* prototype);

// A whole struct as compact text; equal values give equal text.
std::string encode_text_of(const Type& type, const void* value);

}  // namespace banger::api::schema
