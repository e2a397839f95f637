// SPDX-License-Identifier: Apache-2.0
// Kubernetes Status objects: every refusal of the API as one value.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "api/object.hpp"
#include "server/message.hpp"
#include "store/objects.hpp"

namespace banger::server {

struct Cause {
  std::string reason;  // FieldValueInvalid, …
  std::string message;
  std::string field;  // "spec.cpus"
  bool operator==(const Cause&) const = default;
};

struct StatusError {
  unsigned code = 500;
  std::string reason = "InternalError";
  std::string message;
  std::string kind;  // plural of the kind; the Kind itself for 422; empty: not about an object
  std::string name;
  std::vector<Cause> causes;
  unsigned retry_after = 0;  // seconds; also sent as Retry-After
  std::string allow;         // methods, for 405
};

// A value, or the Status that answers the request instead.
template <class T>
using Answer = std::expected<T, StatusError>;

inline std::unexpected<StatusError> refuse(StatusError error) { return std::unexpected<StatusError>(std::move(error)); }

std::string to_json(const StatusError& error);
Response to_response(const StatusError& error);
// {"status":"Success"} with details of the object that went.
Response success(const api::ObjectKey& key, std::string_view uid);

StatusError bad_request(std::string message);
StatusError no_such_path();
StatusError method_not_allowed(std::string message, std::string allow);
StatusError forbidden(std::string message);
StatusError unsupported_media(std::string_view given, std::string_view accepted);
StatusError not_found(const api::ObjectKey& key);
// 422 on a query parameter or on a field of the request that is no object.
StatusError invalid_field(std::string_view field, std::string message);
StatusError expired(std::string message);
StatusError too_large_revision(store::Revision asked, store::Revision current);

// What a store error means for a request about this object.
StatusError from_error(const Error& error, const api::ObjectKey& key);
StatusError from_write_error(const store::WriteError& error, const api::ObjectKey& key);
StatusError from_refusals(const std::vector<api::Refusal>& refusals, const api::ObjectKey& key);

}  // namespace banger::server
