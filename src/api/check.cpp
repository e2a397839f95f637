// SPDX-License-Identifier: Apache-2.0
#include "api/check.hpp"

#include <fmt/format.h>

#include <map>

#include "api/rows.hpp"
#include "base/text.hpp"

namespace banger::api::schema {
namespace {

constexpr std::size_t kMaxAnnotations = std::size_t{256} * 1024;  // of keys and values together, as in Kubernetes

std::string show_number(const Field& field, std::int64_t number) {
  if (field.member.type().shape == Shape::Quantity) return format_quantity(Bytes{static_cast<std::uint64_t>(number)});
  if (field.format == Format::FileMode && number >= 0) return format_mode(number);
  return std::to_string(number);
}

void check_number(const Field& field, std::int64_t number, const std::string& path, std::vector<Refusal>& refusals) {
  if (number < field.min || number > field.max) {
    const auto range = field.max == kNoMaximum
                           ? fmt::format("at least {}", show_number(field, field.min))
                           : fmt::format("between {} and {}", show_number(field, field.min), show_number(field, field.max));
    refuse(refusals, path, "FieldValueInvalid", fmt::format("must be {}, is {}", range, show_number(field, number)));
  } else if (number % field.multiple_of != 0) {
    refuse(refusals, path, "FieldValueInvalid",
           fmt::format("must be a multiple of {}, is {}", show_number(field, field.multiple_of), show_number(field, number)));
  }
}

void check_text(const Field& field, const std::string& text, const std::string& path, std::vector<Refusal>& refusals) {
  if (field.max_length > 0 && text.size() > field.max_length) {
    refuse(refusals, path, "FieldValueTooLong",
           fmt::format("must be at most {} bytes long, is {}", field.max_length, text.size()));
  } else if (auto problem = problem_with(field.format, text)) {
    refuse(refusals, path, "FieldValueInvalid", *std::move(problem));
  }
}

const std::string* text_of(std::span<const Field> fields, std::string_view name, const void* owner) {
  for (const auto& field : fields) {
    if (field.name == name) return static_cast<const std::string*>(field.member.get(owner));
  }
  return nullptr;
}

void check_list_keys(const Field& field, const Type& type, const void* list, const std::string& path,
                     std::vector<Refusal>& refusals) {
  std::map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < type.size(list); ++i) {
    const auto* key = text_of(type.element().fields(), field.list_key, type.at(list, i));
    if (key == nullptr || key->empty()) continue;
    const auto [first, added] = seen.emplace(*key, i);
    if (added) continue;
    refuse(refusals, fmt::format("{}[{}].{}", path, i, field.list_key), "FieldValueDuplicate",
           fmt::format("{} is already the {} of {}[{}]", shown(*key), field.list_key, path, first->second));
  }
}

void check_list(const Field& field, const Type& type, const void* list, const std::string& path, std::vector<Refusal>& refusals) {
  const auto size = type.size(list);
  if (field.max_items > 0 && size > field.max_items) {
    refuse(refusals, path, "FieldValueTooMany", fmt::format("must have at most {} items, has {}", field.max_items, size));
    return;
  }
  for (std::size_t i = 0; i < size; ++i) {
    const auto here = fmt::format("{}[{}]", path, i);
    const auto& element = type.element();
    if (element.shape == Shape::Struct) check_fields(element.fields(), type.at(list, i), here, refusals);
    if (element.shape == Shape::Text) check_text(field, *static_cast<const std::string*>(type.at(list, i)), here, refusals);
  }
  if (!field.list_key.empty()) check_list_keys(field, type, list, path, refusals);
}

void check_field(const Field& field, const void* value, const std::string& path, std::vector<Refusal>& refusals) {
  const auto& type = field.member.type();
  switch (type.shape) {
    case Shape::Text: {
      const auto& text = *static_cast<const std::string*>(value);
      if (text.empty() && !field.member.optional) {
        if (field.required) refuse(refusals, path, "FieldValueRequired", "is required");
        return;
      }
      return check_text(field, text, path, refusals);
    }
    case Shape::List:
      return check_list(field, type, value, path, refusals);
    case Shape::Struct:
      return check_fields(type.fields(), value, path, refusals);
    case Shape::Integer:
    case Shape::Quantity:
    case Shape::Milliseconds:
      return check_number(field, type.read(value), path, refusals);
    case Shape::TextMap:
    case Shape::Time:
    case Shape::Enum:
      return;
  }
}

Format name_format(Kind kind) {
  switch (kind) {
    case Kind::AddressLease:  // "<network>.<address>"
    case Kind::Event:
      return Format::DnsSubdomain;
    default:
      return Format::DnsLabel;
  }
}

void check_meta(const ObjectMeta& meta, const KindInfo& kind, std::vector<Refusal>& refusals) {
  check_fields(fields_of<ObjectMeta>(), &meta, "metadata", refusals);
  if (!meta.name.empty()) {
    if (auto problem = problem_with(name_format(kind.kind), meta.name)) {
      refuse(refusals, "metadata.name", "FieldValueInvalid", *std::move(problem));
    }
  }
  if (!kind.namespaced && !meta.ns.empty()) {
    refuse(refusals, "metadata.namespace", "FieldValueForbidden",
           fmt::format("{} objects have no namespace; remove it", kind.name));
  } else if (kind.namespaced) {
    if (auto problem = problem_with(Format::DnsLabel, meta.ns)) {
      refuse(refusals, "metadata.namespace", "FieldValueInvalid", *std::move(problem));
    }
  }
}

std::string entry_path(std::string_view map, std::string_view key) {
  return fmt::format("metadata.{}[{}]", map, printable(key.substr(0, 64)));
}

void check_labels(const ObjectMeta& meta, std::vector<Refusal>& refusals) {
  for (const auto& [key, value] : meta.labels) {
    auto problem = problem_with_label_key(key);
    if (!problem) problem = problem_with_label_value(value);
    if (problem) refuse(refusals, entry_path("labels", key), "FieldValueInvalid", *std::move(problem));
  }
  std::size_t size = 0;
  for (const auto& [key, value] : meta.annotations) {
    if (auto problem = problem_with_label_key(key)) {
      refuse(refusals, entry_path("annotations", key), "FieldValueInvalid", *std::move(problem));
    }
    size += key.size() + value.size();
  }
  if (size > kMaxAnnotations) {
    refuse(refusals, "metadata.annotations", "FieldValueTooLong",
           fmt::format("must be at most {} bytes together, are {}", kMaxAnnotations, size));
  }
}

}  // namespace

void refuse(std::vector<Refusal>& refusals, std::string field, std::string_view reason, std::string message) {
  refusals.push_back({.field = std::move(field), .reason = std::string(reason), .message = std::move(message)});
}

void check_fields(std::span<const Field> fields, const void* owner, const std::string& path, std::vector<Refusal>& refusals) {
  for (const auto& field : fields) {
    const auto* value = field.member.get(owner);
    if (value != nullptr) check_field(field, value, fmt::format("{}{}{}", path, path.empty() ? "" : ".", field.name), refusals);
  }
}

void check_object(const Object& object, std::vector<Refusal>& refusals) {
  const auto& kind = info(kind_of(object));
  check_meta(object.meta, kind, refusals);
  check_labels(object.meta, refusals);
  const auto* body = body_address(object.body);
  for (const auto& field : body_fields(kind.kind)) {
    if (field.name != "status") check_field(field, field.member.get(body), std::string(field.name), refusals);
  }
}

}  // namespace banger::api::schema
