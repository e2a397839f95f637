// SPDX-License-Identifier: Apache-2.0
#include "server/body.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>

#include "api/codec.hpp"
#include "base/text.hpp"

namespace banger::server {
namespace json = boost::json;
namespace {

std::string_view text_at(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string_view(value->as_string()) : std::string_view{};
}

// The type the body claims must be the one that the URL names.
Answer<void> check_type(const json::object& document, const Resource& resource) {
  const auto kind = text_at(document, "kind");
  const auto version = text_at(document, "apiVersion");
  if (kind.empty()) return refuse(bad_request("the object in the body has no kind"));
  if (version.empty()) return refuse(bad_request("the object in the body has no apiVersion"));
  if (kind != resource.kind->name || version != api::kApiVersion) {
    return refuse(bad_request(fmt::format("the object in the body is a {} of {}, but {} takes {} of {}", printable(kind),
                                          printable(version), resource.kind->plural, resource.kind->name, api::kApiVersion)));
  }
  return {};
}

// Fills in the namespace that the URL names. Metadata that other servers and clients leave behind is dropped.
Answer<void> settle_metadata(json::object& document, const Resource& resource) {
  auto& slot = document["metadata"];
  if (slot.is_null()) slot = json::object{};
  if (!slot.is_object()) return refuse(bad_request("metadata must be an object"));
  auto& metadata = slot.as_object();
  for (const auto* dropped : {"managedFields", "selfLink", "generateName", "deletionGracePeriodSeconds"}) metadata.erase(dropped);
  // Times are the server's; a null stands for none in what Go programs write.
  for (const auto* time : {"creationTimestamp", "deletionTimestamp"}) {
    if (const auto* value = metadata.if_contains(time); value != nullptr && value->is_null()) metadata.erase(time);
  }
  const auto ns = text_at(metadata, "namespace");
  if (resource.kind->namespaced && ns.empty()) metadata["namespace"] = resource.ns;
  if (!ns.empty() && ns != resource.ns) {
    return refuse(
        bad_request(fmt::format("the namespace of the provided object ({}) does not match the namespace sent on the request ({})",
                                printable(ns), resource.ns.empty() ? "none: the kind has no namespaces" : resource.ns)));
  }
  if (resource.name.empty()) return {};
  const auto name = text_at(metadata, "name");
  if (name.empty()) metadata["name"] = resource.name;
  if (!name.empty() && name != resource.name) {
    return refuse(bad_request(
        fmt::format("the name of the object ({}) does not match the name on the URL ({})", printable(name), resource.name)));
  }
  return {};
}

std::string unknown_field(const api::Refusal& refusal) {
  const auto hint = refusal.message.find("did you mean");
  auto text = fmt::format("unknown field \"{}\"", printable(refusal.field));
  if (hint != std::string::npos) text += fmt::format(" ({})", refusal.message.substr(hint));
  return text;
}

Answer<std::optional<std::uint64_t>> precondition_version(const json::object& preconditions) {
  const auto* value = preconditions.if_contains("resourceVersion");
  if (value == nullptr || value->is_null()) return std::nullopt;
  const auto text = text_at(preconditions, "resourceVersion");
  std::uint64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    return refuse(bad_request("preconditions.resourceVersion must be a decimal number in quotes"));
  }
  return version;
}

Answer<Run> dry_run_of(const json::object& options, Run otherwise) {
  const auto* value = options.if_contains("dryRun");
  if (value == nullptr || value->is_null()) return otherwise;
  if (!value->is_array()) return refuse(bad_request("dryRun must be a list"));
  for (const auto& entry : value->as_array()) {
    if (!entry.is_string() || entry.as_string() != "All") return refuse(invalid_field("dryRun", "must be [\"All\"]"));
    otherwise = Run::Dry;
  }
  return otherwise;
}

}  // namespace

Answer<Strictness> strictness_of(const Target& target) {
  const auto text = target.get("fieldValidation").value_or("Strict");
  if (text == "Strict" || text.empty()) return Strictness::Strict;
  if (text == "Warn") return Strictness::Warn;
  if (text == "Ignore") return Strictness::Ignore;
  return refuse(invalid_field("fieldValidation", "must be Strict, Warn or Ignore"));
}

Answer<Run> run_of(const Target& target) {
  const auto text = target.get("dryRun").value_or("");
  if (text.empty()) return Run::Real;
  if (text == "All") return Run::Dry;
  return refuse(invalid_field("dryRun", "must be All"));
}

Answer<void> expect_media(const Request& request, std::string_view expected) {
  auto type = std::string_view(request.content_type).substr(0, request.content_type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  if (type == expected || (type.empty() && expected == kJsonType)) return {};
  return refuse(unsupported_media(printable(type), expected));
}

Answer<json::value> parse_json_object(std::string_view text) {
  json::error_code error;
  json::value value;
  try {
    value = json::parse(text, error);
  } catch (const std::exception& thrown) {
    return refuse(bad_request(fmt::format("the body is not JSON that can be read: {}", thrown.what())));
  }
  if (error) return refuse(bad_request(fmt::format("the body is not JSON: {}", error.message())));
  if (!value.is_object()) return refuse(bad_request("the body must be a JSON object"));
  return value;
}

Answer<Body> decode_body(json::value value, const Resource& resource, Strictness strictness) {
  auto& document = value.as_object();
  if (const auto checked = check_type(document, resource); !checked) return refuse(checked.error());
  if (const auto settled = settle_metadata(document, resource); !settled) return refuse(settled.error());
  if (resource.kind->kind != api::Kind::Event && resource.kind->kind != api::Kind::AddressLease) document.erase("status");
  auto decoded = api::decode_object(value);
  Body body;
  std::vector<api::Refusal> refusals;
  std::vector<std::string> unknown;
  for (auto& refusal : decoded.refusals) {
    if (refusal.reason == "UnknownField") {
      unknown.push_back(unknown_field(refusal));
    } else {
      refusals.push_back(std::move(refusal));
    }
  }
  if (!unknown.empty() && strictness == Strictness::Strict) {
    return refuse(bad_request(fmt::format("{0} in version \"{1}\" cannot be handled as a {0}: strict decoding error: {2}",
                                          resource.kind->name, api::kVersion, join(unknown, ", "))));
  }
  body.object = std::move(decoded.value);
  auto key = resource.key();
  if (key.name.empty()) key.name = body.object.meta.name;
  if (!refusals.empty()) return refuse(from_refusals(refusals, key));
  if (strictness == Strictness::Warn) body.warnings = std::move(unknown);
  return body;
}

Answer<DeleteRequest> decode_delete(const Request& request, const Target& target) {
  DeleteRequest result;
  const auto run = run_of(target);
  if (!run) return refuse(run.error());
  result.run = *run;
  auto propagation = target.get("propagationPolicy").value_or("");
  if (!request.body.empty()) {
    if (const auto media = expect_media(request, kJsonType); !media) return refuse(media.error());
    const auto value = parse_json_object(request.body);
    if (!value) return refuse(value.error());
    const auto& options = value->as_object();
    const auto dry = dry_run_of(options, result.run);
    if (!dry) return refuse(dry.error());
    result.run = *dry;
    if (const auto text = text_at(options, "propagationPolicy"); !text.empty()) propagation = text;
    if (const auto* preconditions = options.if_contains("preconditions"); preconditions != nullptr && !preconditions->is_null()) {
      if (!preconditions->is_object()) return refuse(bad_request("preconditions must be an object"));
      if (const auto uid = text_at(preconditions->as_object(), "uid"); !uid.empty()) result.options.uid = std::string(uid);
      const auto version = precondition_version(preconditions->as_object());
      if (!version) return refuse(version.error());
      result.options.resource_version = *version;
    }
  }
  // Nothing has dependents that outlive it here, so Foreground and Background are the same; Orphan would be a lie.
  if (!propagation.empty() && propagation != "Background" && propagation != "Foreground") {
    return refuse(invalid_field("propagationPolicy", "must be Background or Foreground"));
  }
  return result;
}

}  // namespace banger::server
