// SPDX-License-Identifier: Apache-2.0
#include "cli/origin.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/manifest_source.hpp"
#include "api/three_way.hpp"
#include "base/text.hpp"
#include "cli/documents.hpp"

namespace banger::cli {
namespace {

std::string annotation(const Annotations& annotations, std::string_view name) {
  const auto found = annotations.find(std::string(name));
  return found == annotations.end() ? "" : found->second;
}

}  // namespace

std::string origin_of(const Annotations& annotations, const Session& session) {
  auto text = annotation(annotations, api::kSourceAnnotation);
  const auto colon = text.find(':');
  if (colon == std::string::npos) return text;
  const auto source = session.client.get({.kind = api::Kind::ManifestSource, .ns = "", .name = text.substr(0, colon)});
  if (!source) return text;
  return std::get<api::ManifestSource>(source->body).spec.directory + "/" + text.substr(colon + 1);
}

bool origin_says(const Annotations& annotations, std::string_view field) {
  if (annotation(annotations, api::kSourceAnnotation).empty()) return false;
  boost::json::error_code error;
  const auto last = boost::json::parse(annotation(annotations, api::kLastApplied), error);
  return field.empty() || (!error && find_at(last, fmt::format("spec.{}", field)) != nullptr);
}

void say_origin(const api::ObjectKey& key, const Annotations& annotations, const Session& session) {
  const auto file = origin_of(annotations, session);
  if (file.empty()) return;
  const auto name = key.ns.empty() ? key.name : key.ns + "/" + key.name;
  print_error(fmt::format("note: {} {} comes from {}; the next change of that file wins", api::info(key.kind).name,
                          printable(name), printable(file)));
}

}  // namespace banger::cli
