// SPDX-License-Identifier: Apache-2.0
// object.json beside what was made for a Network, an Image or a Kernel: the object as it is wanted, and of its status what was
// chosen or made once. An empty database is filled from these and from vm.json (sidecar.hpp); while there is a database, nothing
// but its own upkeep reads them.
#pragma once

#include <string>
#include <string_view>

#include "actuators/sidecar.hpp"
#include "api/object.hpp"
#include "base/result.hpp"

namespace banger::actuators {

// What is kept of an object: all but conditions and what a look at the host finds anew. resource_version is kept as it was when
// the record was written.
api::Object record_of(const api::Object& object);

// The record says what this object's would; resource_version is not compared.
bool is_record_of(const api::Object& record, const api::Object& object);

// The VM as it is wanted. A sidecar of an older version does not say that: what it was launched as is the nearest.
api::Object object_of(const Sidecar& sidecar);

std::string encode_record(const api::Object& record);  // JSON text
// Errors: Invalid, also for a kind that keeps none and for an object without uid, name or generation.
Result<api::Object> decode_record(std::string_view text);

}  // namespace banger::actuators
