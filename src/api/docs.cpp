// SPDX-License-Identifier: Apache-2.0
#include "api/docs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec.hpp"
#include "api/encode.hpp"
#include "api/rows.hpp"

namespace banger::api {
namespace {

using schema::Field;
using schema::Format;
using schema::Shape;
using schema::Type;

constexpr std::string_view kOpen = "<!-- fields: ";
constexpr std::string_view kClose = "<!-- end of fields -->";

std::string bound_text(const Field& field, std::int64_t number) {
  if (field.format == Format::FileMode) return schema::format_mode(number);
  return field.member.type().shape == Shape::Quantity ? format_quantity({static_cast<std::uint64_t>(number)})
                                                      : std::to_string(number);
}

std::string bounds(const Field& field) {
  if (field.min == schema::kNoMinimum) return "";
  if (field.max == schema::kNoMaximum) return fmt::format(", from {}", bound_text(field, field.min));
  return fmt::format(", {} to {}", bound_text(field, field.min), bound_text(field, field.max));
}

std::string scalar_text(const Field& field, const Type& type) {
  switch (type.shape) {
    case Shape::Text: {
      const auto format = schema::name_of(field.format);
      const auto length = field.max_length == 0 ? "" : fmt::format(", at most {} bytes", field.max_length);
      return fmt::format("{}{}", format.empty() ? "string" : format, length);
    }
    case Shape::Integer:
      if (field.format != Format::Any) return std::string(schema::name_of(field.format)) + bounds(field);
      return "integer" + bounds(field);
    case Shape::Quantity:
      return "size" + bounds(field);
    case Shape::Time:
      return "time";
    case Shape::Milliseconds:
      return "milliseconds";
    case Shape::Enum:
      return fmt::format("`{}`", fmt::join(type.spellings(), "`, `"));
    case Shape::TextMap:
      return "map of strings";
    default:
      return "object";
  }
}

std::string type_text(const Field& field) {
  const auto& type = field.member.type();
  if (type.shape != Shape::List) return scalar_text(field, type);
  const auto& element = type.element();
  const auto of = element.shape == Shape::Struct ? std::string("objects") : scalar_text(field, element);
  const auto count = field.max_items == 0 ? "" : fmt::format(", at most {}", field.max_items);
  const auto key = field.list_key.empty() ? "" : fmt::format(", by `{}`", field.list_key);
  return fmt::format("list of {}{}{}", of, count, key);
}

std::string default_text(const Field& field, const void* prototype) {
  if (!field.default_text.empty()) return std::string(field.default_text);
  const auto* value = field.member.get(prototype);
  const auto& type = field.member.type();
  if (value == nullptr || type.shape == Shape::Struct) return field.required ? "required" : "";
  if (type.shape == Shape::List || type.shape == Shape::TextMap) return "none";
  const auto encoded = schema::encode_value(type, &field, value);
  auto text = encoded.is_string() ? std::string(encoded.get_string()) : boost::json::serialize(encoded);
  const bool empty = text.empty() || text == "0";
  if (empty) return field.required ? "required" : "";
  return fmt::format("`{}`", text);
}

struct Table {
  bool spec = true;
  std::string rows;
};

void add_rows(std::span<const Field> fields, const void* prototype, const std::string& path, Table& table) {
  for (const auto& field : fields) {
    const auto& type = field.member.type();
    const auto here = path + std::string(field.name);
    const bool parent = type.shape == Shape::Struct && field.update == UpdateClass::Live;
    if (table.spec) {
      table.rows += fmt::format("| `{}` | {} | {} | {} | {} |\n", here, type_text(field), default_text(field, prototype),
                                parent ? "" : to_string(field.update), field.doc);
    } else {
      table.rows += fmt::format("| `{}` | {} | {} |\n", here, type_text(field), field.doc);
    }
    const auto* element = type.shape == Shape::List ? &type.element() : &type;
    if (element->shape != Shape::Struct) continue;
    // A list's elements have the class of the list.
    add_rows(element->fields(), element->prototype(), here + (type.shape == Shape::List ? "[]." : "."), table);
  }
}

Result<std::string> table_for(std::string_view name) {
  const auto dot = name.find('.');
  const auto* kind = find_kind(name.substr(0, dot));
  const auto part = dot == std::string_view::npos ? std::string_view{} : name.substr(dot + 1);
  if (kind == nullptr) return fail(invalid(fmt::format("the marker \"{}\" names no kind", name)));
  auto table = field_table(kind->kind, part);
  if (table.empty()) return fail(invalid(fmt::format("the marker \"{}\" names no part of the kind", name)));
  return table;
}

}  // namespace

std::string field_table(Kind kind, std::string_view part) {
  const auto& body = schema::body_type(kind);
  Table table{.spec = part == "spec"};
  std::string head = table.spec ? "| field | type | default | change | meaning |\n|---|---|---|---|---|\n"
                                : "| field | type | meaning |\n|---|---|---|\n";
  if (part.empty()) {
    add_rows(body.fields(), body.prototype(), "", table);
    return head + table.rows;
  }
  const auto field = std::ranges::find(body.fields(), part, &Field::name);
  if (field == body.fields().end()) return {};
  const auto& type = field->member.type();
  add_rows(type.fields(), type.prototype(), "", table);
  return head + table.rows;
}

Result<std::string> refresh_tables(std::string_view page) {
  std::string out;
  for (;;) {
    const auto open = page.find(kOpen);
    if (open == std::string_view::npos) return out + std::string(page);
    const auto line_end = page.find('\n', open);
    const auto name_end = page.find(" -->", open);
    const auto close = page.find(kClose, open);
    if (line_end == std::string_view::npos || name_end > line_end || close == std::string_view::npos) {
      return fail(invalid("a marker of a field table is not closed"));
    }
    const auto name = page.substr(open + kOpen.size(), name_end - open - kOpen.size());
    BGR_TRY(const auto table, table_for(name));
    out += fmt::format("{}\n{}\n{}", page.substr(0, line_end + 1), table, kClose);
    page.remove_prefix(close + kClose.size());
  }
}

}  // namespace banger::api
