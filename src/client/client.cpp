// SPDX-License-Identifier: Apache-2.0
#include "client/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "api/codec.hpp"

namespace banger::client {
namespace json = boost::json;
namespace {

constexpr std::chrono::seconds kAnswerWithin{60};

ErrorCode code_for(unsigned status, std::string_view reason) {
  switch (status) {
    case 403:
      return ErrorCode::Denied;
    case 404:
      return ErrorCode::NotFound;
    case 409:
      return reason == "AlreadyExists" ? ErrorCode::AlreadyExists : ErrorCode::Conflict;
    case 410:
      return ErrorCode::Gone;
    case 429:
    case 503:
    case 504:
      return ErrorCode::Unavailable;
    default:
      return status >= 500 ? ErrorCode::Internal : ErrorCode::Invalid;
  }
}

std::string text_at(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string{};
}

Result<json::value> parse(std::string_view text) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = 64;
  auto value = json::parse(text, error, {}, options);
  if (error) return fail(internal(fmt::format("bangerd answered with something that is not JSON: {}", error.message())));
  return value;
}

Error error_of(const json::value& document, unsigned status) {
  if (!document.is_object()) return internal(fmt::format("bangerd answered with HTTP status {}", status));
  const auto& object = document.as_object();
  if (const auto* code = object.if_contains("code"); code != nullptr && code->is_int64()) {
    status = static_cast<unsigned>(std::clamp<std::int64_t>(code->as_int64(), 100, 599));
  }
  auto message = text_at(object, "message");
  if (message.empty()) message = fmt::format("bangerd answered with HTTP status {}", status);
  return {code_for(status, text_at(object, "reason")), std::move(message)};
}

Error error_of(const Response& response) {
  const auto document = parse(response.body);
  return error_of(document ? *document : json::value{}, response.status);
}

// The text of `299 - "text"`, a Warning as RFC 7234 5.5 has it.
std::string text_of_warning(std::string_view header) {
  const auto quote = header.find('"');
  if (quote == std::string_view::npos) return std::string(header);
  std::string text;
  for (auto at = quote + 1; at < header.size() && header[at] != '"'; ++at) {
    if (header[at] == '\\' && at + 1 < header.size()) ++at;
    text += header[at];
  }
  return text;
}

bool is_good(unsigned status) { return status >= 200 && status < 300; }

}  // namespace

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                       c == '_' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string collection_path(api::Kind kind, std::string_view ns) {
  const auto& info = api::info(kind);
  if (!info.namespaced || ns.empty()) return fmt::format("/apis/{}/{}", api::kApiVersion, info.plural);
  return fmt::format("/apis/{}/namespaces/{}/{}", api::kApiVersion, percent_encode(ns), info.plural);
}

std::string object_path(const api::ObjectKey& key) {
  return fmt::format("{}/{}", collection_path(key.kind, key.ns), percent_encode(key.name));
}

Result<Response> Client::send(const Request& request) const {
  const Patience patience{.deadline = std::chrono::steady_clock::now() + kAnswerWithin, .stop = nullptr};
  BGR_TRY(auto done, exchange(socket_path_, request, nullptr, patience));
  if (done.ending == Ending::Complete) return std::move(done.response);
  return fail({ErrorCode::Unavailable,
               fmt::format("bangerd did not answer within {} s on {}; look at its log, then try again", kAnswerWithin.count(),
                           socket_path_),
               ETIMEDOUT});
}

Result<json::value> Client::call(const Request& request) const {
  BGR_TRY(const auto response, send(request));
  if (on_warning_) {
    for (const auto& warning : response.warnings) on_warning_(text_of_warning(warning));
  }
  if (!is_good(response.status)) return fail(error_of(response));
  return parse(response.body);
}

Result<json::value> Client::get_json(const std::string& target, std::string_view accept) const {
  return call({.target = target, .accept = std::string(accept)});
}

Result<api::Object> Client::get(const api::ObjectKey& key) const {
  BGR_TRY(const auto document, get_json(object_path(key)));
  return api::decode_stored(json::serialize(document));
}

Result<api::Object> Client::merge_patch(const api::ObjectKey& key, const json::value& patch) const {
  BGR_TRY(const auto document, call({.method = "PATCH",
                                     .target = object_path(key),
                                     .body = json::serialize(patch),
                                     .content_type = std::string(kMergePatchType)}));
  return api::decode_stored(json::serialize(document));
}

Result<Ending> Client::watch(const std::string& target, std::string_view accept, const EventSink& sink,
                             const Patience& patience) const {
  std::string line;
  std::optional<Error> error;
  const auto take_line = [&] {
    const auto event = parse(line);
    line.clear();
    if (!event || !event->is_object() || !event->as_object().contains("object")) {
      error = internal("bangerd sent a watch event that cannot be read");
      return false;
    }
    const auto type = text_at(event->as_object(), "type");
    const auto& object = event->as_object().at("object");
    if (type == "ERROR") error = error_of(object, 500);
    return !error && sink(type, object);
  };
  const auto split_lines = [&](std::string_view bytes) {
    while (!bytes.empty()) {
      const auto end = bytes.find('\n');
      line += bytes.substr(0, end);
      if (end == std::string_view::npos) return true;
      bytes.remove_prefix(end + 1);
      if (!line.empty() && !take_line()) return false;
    }
    return true;
  };
  BGR_TRY(const auto done, exchange(socket_path_, {.target = target, .accept = std::string(accept)}, split_lines, patience));
  if (error) return fail(*error);
  if (done.ending == Ending::Complete && !is_good(done.response.status)) return fail(error_of(done.response));
  return done.ending;
}

Result<Ending> Client::read_text(const std::string& target, const BodySink& sink, const Patience& patience) const {
  BGR_TRY(const auto done, exchange(socket_path_, {.target = target, .accept = "*/*"}, sink, patience));
  if (done.ending == Ending::Complete && !is_good(done.response.status)) return fail(error_of(done.response));
  return done.ending;
}

}  // namespace banger::client
