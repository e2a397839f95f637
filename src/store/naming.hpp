// SPDX-License-Identifier: Apache-2.0
// How refusals name an object, in the words Kubernetes clients know; and the short id that one living object alone may have.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/meta.hpp"
#include "base/error.hpp"

namespace banger::store {

// virtualmachines.banger.dev "web"
std::string resource_name(const api::ObjectKey& key);

Error no_such_object(const api::ObjectKey& key);       // NotFound
Error object_exists(const api::ObjectKey& key);        // AlreadyExists
Error object_was_modified(const api::ObjectKey& key);  // Conflict: the version the caller read is not the current one
// Conflict: "Operation cannot be fulfilled on …: <why>"
Error operation_conflict(const api::ObjectKey& key, std::string_view why);

// The first 50 bits of a uid as 10 base32 digits: the same text as actuators/names.hpp short_id(), from which the names of taps,
// bridges and tables are made. The store sees to it that no two living objects share one, so it needs the value, but the layer
// table keeps names.hpp out of its sight; record_test.cpp pins the digits. Nothing where the text is not a uid.
std::optional<std::string> short_id(std::string_view uid);

}  // namespace banger::store
