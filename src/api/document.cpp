// SPDX-License-Identifier: Apache-2.0
// A whole object from its tree: the envelope, then the rows of its kind.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <map>

#include "api/check.hpp"
#include "api/decode.hpp"
#include "api/encode.hpp"
#include "api/rows.hpp"
#include "api/three_way.hpp"
#include "base/text.hpp"

namespace banger::api::schema {
namespace {

namespace json = boost::json;

const Field& meta_field() {
  static const Field kField{.name = "metadata", .member = member<&Object::meta>(), .doc = "who the object is"};
  return kField;
}

// apiVersion and kind; nothing when it cannot be told what the rest should look like.
const KindInfo* read_kind(const TreeNode& root, Writer writer, Decoder& decoder) {
  const auto text_at = [&](std::string_view name) -> const TreeNode* {
    const auto* entry = find_entry(root, name);
    if (entry == nullptr || entry->value.type == TreeNode::Type::Null) {
      decoder.refuse({}, name, "FieldValueRequired", "is required");
      return nullptr;
    }
    if (entry->value.type == TreeNode::Type::Text) return &entry->value;
    if (entry->value.type != TreeNode::Type::Refused) {
      decoder.refuse(entry->value, name, "FieldValueTypeInvalid",
                     fmt::format("must be a string, is {}", described(entry->value)));
    }
    return nullptr;
  };
  const auto* version = text_at("apiVersion");
  if (version != nullptr && version->text != kApiVersion) {
    decoder.refuse(*version, "apiVersion", "FieldValueNotSupported",
                   fmt::format("must be {}, is {}", kApiVersion, shown(version->text)));
    version = nullptr;
  }
  const auto* kind = text_at("kind");
  if (kind == nullptr) return nullptr;
  const auto* found = find_kind(kind->text);
  if (found == nullptr) {
    std::vector<std::string_view> names;
    for (const auto& row : kinds()) {
      if (row.user_writable || writer != Writer::Manifest) names.push_back(row.name);
    }
    // Commands take `vm` and `networks`; a manifest takes the kind itself.
    std::string lower(kind->text);
    std::ranges::transform(lower, lower.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    const auto* resource = find_resource(lower);
    const auto best = resource != nullptr && std::ranges::find(names, resource->name) != names.end() ? resource->name
                                                                                                     : nearest(kind->text, names);
    decoder.refuse(*kind, "kind", "FieldValueNotSupported",
                   fmt::format("must be one of {}, is {}{}", fmt::join(names, ", "), shown(kind->text),
                               best.empty() ? "" : fmt::format("; did you mean \"{}\"?", best)));
  } else if (writer == Writer::Manifest && !found->user_writable) {
    decoder.refuse(*kind, "kind", "FieldValueForbidden", fmt::format("{} objects are written by bangerd only", found->name));
    return nullptr;
  }
  return version == nullptr ? nullptr : found;
}

void read_body(const TreeNode& root, Object& object, Decoder& decoder) {
  const auto fields = body_fields(kind_of(object));
  auto* body = body_address(object.body);
  for (const auto& entry : root.entries) {
    if (entry.key == "apiVersion" || entry.key == "kind") continue;
    const auto field = std::ranges::find(fields, entry.key, &Field::name);
    if (entry.key == "metadata") {
      decoder.read_field(entry.value, meta_field(), &object, "");
    } else if (field != fields.end()) {
      decoder.read_field(entry.value, *field, body, "");
    } else {
      std::vector<std::string_view> known{"apiVersion", "kind", "metadata"};
      for (const auto& row : fields) known.push_back(row.name);
      decoder.refuse_unknown(entry, known, "");
    }
  }
  if (find_entry(root, "metadata") == nullptr) decoder.read_absent(meta_field(), &object, "");
  for (const auto& field : fields) {
    if (find_entry(root, field.name) == nullptr) decoder.read_absent(field, body, "");
  }
}

// An object read by `bangerctl get -o yaml` has these; on another object they would say of it what is true of the first.
void refuse_own_annotations(const ObjectMeta& meta, Decoder& decoder) {
  for (const auto name : {kLastApplied, kSourceAnnotation}) {
    if (!meta.annotations.contains(std::string(name))) continue;
    decoder.refuse({.line = 0}, fmt::format("metadata.annotations[{}]", name), "FieldValueForbidden",
                   "is set by bangerd and cannot stand in a manifest; remove it");
  }
}

bool is_at_or_below(std::string_view field, std::string_view other) {
  if (other.empty() || !field.starts_with(other)) return false;
  const auto rest = field.substr(other.size());
  return rest.empty() || rest.front() == '.' || rest.front() == '[';
}

// Bounds and rules; what could not be read is not spoken of twice. said: by the reader of the text.
void check(const Object& object, const std::vector<Refusal>& said, std::vector<Refusal>& refusals) {
  auto unread = said;
  bool complete = said.empty();
  for (const auto& refusal : refusals) {
    const bool harmless = refusal.reason == "UnknownField" || refusal.reason == "FieldValueForbidden";
    if (!harmless) unread.push_back(refusal);
    // Rules between fields speak of values; those of a field that was not read are not the user's.
    if (!harmless && refusal.reason != "FieldValueRequired") complete = false;
  }
  std::vector<Refusal> found;
  check_object(object, found);
  if (complete) check_rules(object, found);
  for (auto& refusal : found) {
    const bool known = std::ranges::any_of(unread, [&](const Refusal& r) { return is_at_or_below(refusal.field, r.field); });
    if (!known) refusals.push_back(std::move(refusal));
  }
}

// Takes "disks", "[0]" or "[a/key]" off the front of a path.
std::string_view take_segment(std::string_view& path) {
  const bool index = path.starts_with('[');
  const auto end = index ? path.find(']') : path.find_first_of(".[");
  auto segment = path.substr(0, end);
  path.remove_prefix(end == std::string_view::npos ? path.size() : end + (index ? 1 : 0));
  if (index) segment.remove_prefix(1);
  if (path.starts_with('.')) path.remove_prefix(1);
  return segment;
}

const TreeNode& nearest_node(const TreeNode& root, std::string_view path) {
  const auto* node = &root;
  while (!path.empty()) {
    const auto segment = take_segment(path);
    if (node->type == TreeNode::Type::List) {
      std::size_t index = 0;
      std::from_chars(segment.data(), segment.data() + segment.size(), index);
      if (index >= node->items.size()) return *node;
      node = &node->items[index];
      continue;
    }
    const auto* entry = find_entry(*node, segment);
    if (entry == nullptr || entry->value.line == 0) return *node;
    node = &entry->value;
  }
  return *node;
}

json::value written(const TreeNode& node, const Type& type, const Field* field, const void* value);

json::object written_fields(const TreeNode& node, std::span<const Field> fields, const void* owner) {
  std::map<std::string_view, json::value> sorted;
  for (const auto& entry : node.entries) {
    const auto field = std::ranges::find(fields, entry.key, &Field::name);
    if (field == fields.end() || entry.value.type == TreeNode::Type::Null) continue;
    const auto* value = field->member.get(owner);
    if (value != nullptr) sorted.emplace(field->name, written(entry.value, field->member.type(), &*field, value));
  }
  json::object object;
  for (auto& [name, value] : sorted) object.emplace(json::string_view(name.data(), name.size()), std::move(value));
  return object;
}

json::value written(const TreeNode& node, const Type& type, const Field* field, const void* value) {
  if (type.shape == Shape::Struct) return written_fields(node, type.fields(), value);
  if (type.shape != Shape::List || type.element().shape != Shape::Struct) return encode_value(type, field, value);
  json::array list;
  for (std::size_t i = 0; i < node.items.size() && i < type.size(value); ++i) {
    list.push_back(written(node.items[i], type.element(), field, type.at(value, i)));
  }
  return list;
}

}  // namespace

std::optional<Object> decode_document(const TreeNode& root, Writer writer, std::vector<Refusal>& refusals) {
  std::vector<Refusal> found;
  Decoder decoder(writer, found);
  std::optional<Object> object;
  if (root.type != TreeNode::Type::Map) {
    if (root.type != TreeNode::Type::Refused) {
      decoder.refuse(root, "", "FieldValueTypeInvalid", fmt::format("a document must be a map, is {}", described(root)));
    }
  } else if (const auto* kind = read_kind(root, writer, decoder)) {
    object.emplace();
    object->body = new_body(kind->kind);
    read_body(root, *object, decoder);
    if (writer == Writer::Manifest) refuse_own_annotations(object->meta, decoder);
    if (writer != Writer::Stored) {
      if (kind->namespaced && object->meta.ns.empty()) object->meta.ns = kDefaultNamespace;
      check(*object, refusals, found);
    }
  }
  place(root, found);
  refusals.insert(refusals.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
  return object;
}

void place(const TreeNode& root, std::vector<Refusal>& refusals) {
  for (auto& refusal : refusals) {
    if (refusal.line != 0) continue;
    const auto& node = nearest_node(root, refusal.field);
    refusal.line = node.line;
    refusal.column = node.column;
  }
  std::ranges::stable_sort(refusals, {}, [](const Refusal& refusal) { return std::pair(refusal.line, refusal.column); });
}

std::string canonical_text(const TreeNode& root, const Object& object) {
  const auto kind = info(kind_of(object)).name;
  json::object out;
  out["apiVersion"] = json::string_view(kApiVersion.data(), kApiVersion.size());
  out["kind"] = json::string_view(kind.data(), kind.size());
  json::object meta;
  if (const auto* entry = find_entry(root, "metadata")) {
    meta = written_fields(entry->value, fields_of<ObjectMeta>(), &object.meta);
  }
  if (!object.meta.ns.empty()) meta["namespace"] = object.meta.ns;
  std::map<std::string, json::value> sorted;  // "namespace" came last
  for (auto& [key, value] : meta) sorted.emplace(key, std::move(value));
  auto& metadata = out["metadata"].emplace_object();
  for (auto& [key, value] : sorted) metadata.emplace(key, std::move(value));
  for (auto& [key, value] : written_fields(root, body_fields(kind_of(object)), body_address(object.body))) {
    out.emplace(key, std::move(value));
  }
  return json::serialize(out);
}

}  // namespace banger::api::schema
