// SPDX-License-Identifier: Apache-2.0
#include "server/status.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace banger::server {
namespace json = boost::json;
namespace {

std::string resource_name(const api::ObjectKey& key) { return fmt::format("{}.{}", api::info(key.kind).plural, api::kGroup); }

StatusError about(const api::ObjectKey& key, unsigned code, std::string reason, std::string message) {
  return {.code = code,
          .reason = std::move(reason),
          .message = std::move(message),
          .kind = std::string(api::info(key.kind).plural),
          .name = key.name};
}

json::object details_of(const StatusError& error) {
  json::object details;
  if (!error.name.empty()) details["name"] = error.name;
  if (!error.kind.empty()) {
    details["group"] = api::kGroup;
    details["kind"] = error.kind;
  }
  if (!error.causes.empty()) {
    json::array causes;
    for (const auto& cause : error.causes) {
      causes.push_back({{"reason", cause.reason}, {"message", cause.message}, {"field", cause.field}});
    }
    details["causes"] = std::move(causes);
  }
  if (error.retry_after > 0) details["retryAfterSeconds"] = error.retry_after;
  return details;
}

Cause cause_of(const api::Refusal& refusal) {
  return {refusal.reason == "UnknownField" || refusal.reason == "Syntax" ? "FieldValueInvalid" : refusal.reason, refusal.message,
          refusal.field};
}

}  // namespace

std::string to_json(const StatusError& error) {
  const json::object status{
      {"kind", "Status"},         {"apiVersion", "v1"},     {"metadata", json::object{}},   {"status", "Failure"},
      {"message", error.message}, {"reason", error.reason}, {"details", details_of(error)}, {"code", error.code}};
  return json::serialize(status);
}

Response to_response(const StatusError& error) {
  Response response{.status = error.code, .body = to_json(error) + "\n"};
  if (error.retry_after > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  if (!error.allow.empty()) response.headers.emplace_back("Allow", error.allow);
  return response;
}

Response success(const api::ObjectKey& key, std::string_view uid) {
  const json::object details{{"name", key.name}, {"group", api::kGroup}, {"kind", api::info(key.kind).plural}, {"uid", uid}};
  const json::object status{
      {"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", json::object{}}, {"status", "Success"}, {"details", details}};
  return {.body = json::serialize(status) + "\n"};
}

StatusError bad_request(std::string message) { return {.code = 400, .reason = "BadRequest", .message = std::move(message)}; }

StatusError no_such_path() {
  return {.code = 404, .reason = "NotFound", .message = "the server could not find the requested resource"};
}

StatusError method_not_allowed(std::string message, std::string allow) {
  return {.code = 405, .reason = "MethodNotAllowed", .message = std::move(message), .allow = std::move(allow)};
}

StatusError forbidden(std::string message) { return {.code = 403, .reason = "Forbidden", .message = std::move(message)}; }

StatusError unsupported_media(std::string_view given, std::string_view accepted) {
  return {.code = 415,
          .reason = "UnsupportedMediaType",
          .message = fmt::format("the body of the request was in an unknown format ({}) - accepted media types include: {}",
                                 given.empty() ? "none given" : given, accepted)};
}

StatusError not_found(const api::ObjectKey& key) {
  return about(key, 404, "NotFound", fmt::format("{} \"{}\" not found", resource_name(key), key.name));
}

StatusError invalid_field(std::string_view field, std::string message) {
  StatusError error{.code = 422, .reason = "Invalid", .message = fmt::format("{}: {}", field, message)};
  error.causes.push_back({"FieldValueInvalid", std::move(message), std::string(field)});
  return error;
}

StatusError expired(std::string message) { return {.code = 410, .reason = "Expired", .message = std::move(message)}; }

StatusError too_large_revision(store::Revision asked, store::Revision current) {
  StatusError error{.code = 504,
                    .reason = "Timeout",
                    .message = fmt::format("Too large resource version: {}, current: {}", asked, current),
                    .retry_after = 1};
  error.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  return error;
}

StatusError from_error(const Error& error, const api::ObjectKey& key) {
  switch (error.code) {
    case ErrorCode::NotFound:
      return not_found(key);
    case ErrorCode::AlreadyExists:
      return about(key, 409, "AlreadyExists", error.message);
    case ErrorCode::Conflict:
      return about(key, 409, "Conflict", error.message);
    case ErrorCode::Invalid: {
      auto status =
          about(key, 422, "Invalid",
                fmt::format("{}.{} \"{}\" is invalid: {}", api::info(key.kind).name, api::kGroup, key.name, error.message));
      status.kind = api::info(key.kind).name;
      return status;
    }
    case ErrorCode::Denied:
      return about(key, 403, "Forbidden", error.message);
    case ErrorCode::Gone:
      return expired(error.message);
    case ErrorCode::Busy:
    case ErrorCode::Unavailable: {
      auto status = about(key, 503, "ServiceUnavailable", error.message);
      status.retry_after = 1;
      return status;
    }
    case ErrorCode::Internal:
      break;
  }
  return about(key, 500, "InternalError", fmt::format("Internal error occurred: {}", error.message));
}

StatusError from_refusals(const std::vector<api::Refusal>& refusals, const api::ObjectKey& key) {
  StatusError status{.code = 422, .reason = "Invalid", .kind = std::string(api::info(key.kind).name), .name = key.name};
  std::string all;
  for (const auto& refusal : refusals) {
    if (!all.empty()) all += ", ";
    all += refusal.field.empty() ? refusal.message : fmt::format("{}: {}", refusal.field, refusal.message);
    status.causes.push_back(cause_of(refusal));
  }
  if (refusals.size() > 1) all = fmt::format("[{}]", all);
  status.message = fmt::format("{}.{} \"{}\" is invalid: {}", api::info(key.kind).name, api::kGroup, key.name, all);
  return status;
}

StatusError from_write_error(const store::WriteError& error, const api::ObjectKey& key) {
  if (!error.refusals.empty()) return from_refusals(error.refusals, key);
  return from_error(error.error, key);
}

}  // namespace banger::server
