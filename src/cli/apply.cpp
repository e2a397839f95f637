// SPDX-License-Identifier: Apache-2.0
// bangerctl apply: make what the manifests say the desired state.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/three_way.hpp"
#include "base/text.hpp"
#include "cli/documents.hpp"
#include "cli/manifests.hpp"
#include "cli/origin.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

// The manifest as it is sent: what was written, where it goes, and a note of what was written.
Outcome<json::value> outgoing(const api::ManifestDocument& document) {
  json::error_code error;
  auto value = json::parse(document.canonical, error);
  if (error || !value.is_object())
    return give_up({kExitFailed, "the manifest has no canonical form; this is a bug of bangerctl"});
  auto& metadata = value.as_object()["metadata"];
  if (!metadata.is_object()) metadata = json::object{};
  if (!document.object.meta.ns.empty()) metadata.as_object()["namespace"] = document.object.meta.ns;
  const auto note = json::serialize(value);
  auto& annotations = metadata.as_object()["annotations"];
  if (!annotations.is_object()) annotations = json::object{};
  annotations.as_object()[api::kLastApplied] = note;
  return value;
}

json::value last_applied(const json::value& live) {
  const auto* annotations = find_at(live, "metadata.annotations");
  if (annotations == nullptr || !annotations->is_object()) return {};
  json::error_code error;
  auto last = json::parse(text_of(annotations->as_object().if_contains(api::kLastApplied)), error);
  return error ? json::value{} : last;
}

Annotations annotations_of(const json::value& live) {
  Annotations out;
  const auto* annotations = find_at(live, "metadata.annotations");
  if (annotations == nullptr || !annotations->is_object()) return out;
  for (const auto& [name, value] : annotations->as_object()) out.emplace(name, text_of(&value));
  return out;
}

// "created", "configured" or "unchanged".
Outcome<std::string_view> apply_one(const api::ManifestDocument& document, const Session& session) {
  const auto key = api::key_of(document.object);
  const auto next = outgoing(document);
  if (!next) return give_up(next.error());
  const auto live = session.client.get_json(client::object_path(key));
  if (!live && live.error().code == ErrorCode::NotFound) {
    const auto created = session.client.call(
        {.method = "POST", .target = client::collection_path(key.kind, key.ns), .body = json::serialize(*next)});
    if (!created) return give_up(failure_of(created.error()));
    return "created";
  }
  if (!live) return give_up(failure_of(live.error()));
  if (!text_at(*live, "metadata.deletionTimestamp").empty()) {  // what is written now would go with it
    const auto name = fmt::format("{}/{}", api::info(key.kind).singular, printable(key.name));
    return give_up(
        {kExitFailed, fmt::format("{0} is being deleted; wait with: bangerctl wait --for=delete {0}, then apply again", name)});
  }
  const auto patch = api::three_way_patch(last_applied(*live), *next, *live);
  if (patch.as_object().empty()) return "unchanged";
  const auto written = session.client.call({.method = "PATCH",
                                            .target = client::object_path(key),
                                            .body = json::serialize(patch),
                                            .content_type = std::string(client::kMergePatchType)});
  if (!written) return give_up(failure_of(written.error()));
  const bool same = text_at(*written, "metadata.resourceVersion") == text_at(*live, "metadata.resourceVersion");
  if (same) return "unchanged";
  say_origin(key, annotations_of(*live), session);
  return "configured";
}

}  // namespace

Outcome<> apply(const ApplyOptions& options, const Session& session) {
  const auto manifests = load_manifests(options.files, session);
  if (!manifests) return give_up(manifests.error());
  int exit_code = kExitOk;
  for (const auto& [file, document] : *manifests) {
    const auto done = apply_one(document, session);
    if (!done && done.error().exit_code == kExitUnreachable) return give_up(done.error());
    if (!done) {
      print_error(fmt::format("{}:{}: {}", printable(file), document.line, done.error().message));
      exit_code = done.error().exit_code;
      continue;
    }
    print_line(
        fmt::format("{}/{} {}", api::info(api::kind_of(document.object)).singular, printable(document.object.meta.name), *done));
  }
  if (exit_code != kExitOk) return give_up({exit_code, ""});
  return {};
}

}  // namespace banger::cli
