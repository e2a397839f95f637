// SPDX-License-Identifier: Apache-2.0
#include "server/view.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <optional>

#include "api/codec.hpp"
#include "base/text.hpp"

namespace banger::server {
namespace json = boost::json;
namespace {

std::string_view trim_blanks(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// The shape of one entry of an Accept list; nullopt: it cannot be made.
std::optional<Shape> shape_of(std::string_view entry) {
  const auto parts = split(entry, ';');
  const auto type = trim_blanks(parts.front());
  if (type == "*/*" || type == "application/*") return Shape::Object;
  if (type != "application/json") return std::nullopt;
  std::string_view as;
  std::string_view group;
  for (const auto part : parts) {
    const auto parameter = trim_blanks(part);
    if (parameter.starts_with("as=")) as = parameter.substr(3);
    if (parameter.starts_with("g=")) group = parameter.substr(2);
  }
  if (as.empty()) return Shape::Object;
  if (group != "meta.k8s.io") return std::nullopt;
  if (as == "Table") return Shape::Table;
  if (as == "PartialObjectMetadata" || as == "PartialObjectMetadataList") return Shape::Metadata;
  return std::nullopt;
}

json::object list_metadata(store::Revision revision) { return {{"resourceVersion", std::to_string(revision)}}; }

json::object table(json::object metadata) {
  return {{"kind", "Table"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", std::move(metadata)}};
}

std::string plain_list(api::Kind kind, std::span<const api::Object> objects, store::Revision revision) {
  auto text = fmt::format(R"({{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},"items":[)",
                          api::info(kind).name, api::kApiVersion, revision);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (i > 0) text += ',';
    text += api::encode_text(objects[i]);
  }
  return text + "]}";
}

}  // namespace

Answer<View> negotiate(std::string_view accept, const Target& target) {
  View view;
  const auto include = target.get("includeObject").value_or("Metadata");
  if (include == "None") {
    view.include = RowObject::None;
  } else if (include == "Object") {
    view.include = RowObject::Object;
  } else if (!include.empty() && include != "Metadata") {
    return refuse(bad_request("includeObject must be None, Metadata or Object"));
  }
  if (trim_blanks(accept).empty()) return view;
  for (const auto entry : split(accept, ',')) {
    if (const auto shape = shape_of(trim_blanks(entry))) {
      view.shape = *shape;
      return view;
    }
  }
  return refuse({.code = 406,
                 .reason = "NotAcceptable",
                 .message = "only the following media types can be made: application/json, "
                            "application/json;as=Table;g=meta.k8s.io;v=v1"});
}

std::string content_type_of(const View&) { return "application/json"; }

std::string show_object(const View& view, const api::Object& object, WallTime now) {
  switch (view.shape) {
    case Shape::Object:
      break;
    case Shape::Metadata:
      return json::serialize(partial_metadata(object));
    case Shape::Table: {
      auto document = table(list_metadata(object.meta.resource_version));
      document["columnDefinitions"] = column_definitions(api::kind_of(object));
      document["rows"] = json::array{table_row(object, view.include, now)};
      return json::serialize(document);
    }
  }
  return api::encode_text(object);
}

std::string show_list(const View& view, api::Kind kind, std::span<const api::Object> objects, store::Revision revision,
                      WallTime now) {
  if (view.shape == Shape::Object) return plain_list(kind, objects, revision);
  json::array rows;
  for (const auto& object : objects) {
    rows.push_back(view.shape == Shape::Table ? table_row(object, view.include, now) : partial_metadata(object));
  }
  if (view.shape == Shape::Metadata) {
    return json::serialize(json::object{{"kind", "PartialObjectMetadataList"},
                                        {"apiVersion", "meta.k8s.io/v1"},
                                        {"metadata", list_metadata(revision)},
                                        {"items", std::move(rows)}});
  }
  auto document = table(list_metadata(revision));
  document["columnDefinitions"] = column_definitions(kind);
  document["rows"] = std::move(rows);
  return json::serialize(document);
}

std::string show_event_object(const View& view, const api::Object& object, Columns columns, WallTime now) {
  if (view.shape != Shape::Table) return show_object(view, object, now);
  auto document = table(list_metadata(object.meta.resource_version));
  document["columnDefinitions"] = columns == Columns::Included ? column_definitions(api::kind_of(object)) : json::value(nullptr);
  document["rows"] = json::array{table_row(object, view.include, now)};
  return json::serialize(document);
}

std::string show_bookmark(const View& view, api::Kind kind, store::Revision revision, InitialEvents initial) {
  auto metadata = list_metadata(revision);
  metadata["creationTimestamp"] = nullptr;
  if (initial == InitialEvents::Ended) {
    metadata["annotations"] = json::object{{"k8s.io/initial-events-end", "true"}};
  }
  switch (view.shape) {
    case Shape::Object:
      break;
    case Shape::Metadata:
      return json::serialize(
          json::object{{"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", std::move(metadata)}});
    case Shape::Table: {
      auto document = table(list_metadata(revision));
      document["columnDefinitions"] = nullptr;
      const json::object object{
          {"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", std::move(metadata)}};
      document["rows"] = json::array{json::object{{"cells", json::array{}}, {"object", object}}};
      return json::serialize(document);
    }
  }
  return json::serialize(
      json::object{{"kind", api::info(kind).name}, {"apiVersion", api::kApiVersion}, {"metadata", std::move(metadata)}});
}

}  // namespace banger::server
