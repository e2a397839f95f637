// SPDX-License-Identifier: Apache-2.0
#include "api/encode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "api/codec.hpp"
#include "api/rows.hpp"
#include "api/time.hpp"
#include "api/tree.hpp"

namespace banger::api::schema {
namespace {

namespace json = boost::json;

json::value encode_number(const Type& type, const Field* field, std::int64_t number) {
  switch (type.shape) {
    case Shape::Quantity:
      return json::value(format_quantity(Bytes{static_cast<std::uint64_t>(number)}));
    case Shape::Time:
      return json::value(format_time_exact(WallTime{std::chrono::milliseconds{number}}));
    case Shape::Enum: {
      const auto spellings = type.spellings();
      const auto index = std::min(static_cast<std::size_t>(number), spellings.size() - 1);
      return json::value(json::string_view(spellings[index].data(), spellings[index].size()));
    }
    default:
      break;
  }
  if (field != nullptr && field->format == Format::FileMode) return json::value(format_mode(number));
  if (field != nullptr && field->format == Format::DecimalText) return json::value(std::to_string(number));
  return json::value(number);
}

json::value encode_text_value(const std::string& text) {
  // What a guest or a file said may be any bytes; JSON text must be UTF-8 to be read again.
  const auto valid = valid_utf8(text);
  return json::value(json::string_view(valid.data(), valid.size()));
}

bool is_empty(const Type& type, const void* value) {
  switch (type.shape) {
    case Shape::Text:
      return static_cast<const std::string*>(value)->empty();
    case Shape::List:
      return type.size(value) == 0;
    case Shape::TextMap:
      return static_cast<const std::map<std::string, std::string>*>(value)->empty();
    case Shape::Integer:
    case Shape::Quantity:
    case Shape::Milliseconds:
      return type.read(value) == 0;
    default:
      return false;
  }
}

// Left out: what is empty where absence means the same.
bool is_left_out(const Field& field, const void* value, const void* prototype) {
  if (field.always) return false;
  const auto& type = field.member.type();
  if (field.member.optional) return false;
  return is_empty(type, value) && is_empty(type, field.member.get(prototype));
}

}  // namespace

json::value encode_value(const Type& type, const Field* field, const void* value) {
  switch (type.shape) {
    case Shape::Text:
      return encode_text_value(*static_cast<const std::string*>(value));
    case Shape::Struct:
      return encode_fields(type.fields(), value, type.prototype());
    case Shape::List: {
      json::array list;
      for (std::size_t i = 0; i < type.size(value); ++i) list.push_back(encode_value(type.element(), field, type.at(value, i)));
      return list;
    }
    case Shape::TextMap: {
      json::object map;
      for (const auto& [key, text] : *static_cast<const std::map<std::string, std::string>*>(value)) {
        map[valid_utf8(key)] = encode_text_value(text);
      }
      return map;
    }
    default:
      return encode_number(type, field, type.read(value));
  }
}

json::object encode_fields(std::span<const Field> fields, const void* owner, const void* prototype) {
  json::object object;
  for (const auto& field : fields) {
    const auto* value = field.member.get(owner);
    if (value == nullptr || is_left_out(field, value, prototype)) continue;
    const auto& type = field.member.type();
    auto encoded = encode_value(type, &field, value);
    const bool hollow = encoded.is_object() && encoded.get_object().empty();
    if (hollow && type.shape == Shape::Struct && !field.member.optional && !field.always) continue;
    object.emplace(json::string_view(field.name.data(), field.name.size()), std::move(encoded));
  }
  return object;
}

std::string encode_text_of(const Type& type, const void* value) { return json::serialize(encode_value(type, nullptr, value)); }

}  // namespace banger::api::schema

namespace banger::api {

boost::json::value encode(const Object& object) {
  namespace json = boost::json;
  static const ObjectMeta kNoMeta{};
  const auto kind = kind_of(object);
  const auto kind_name = info(kind).name;
  json::object out;
  out["apiVersion"] = json::string_view(kApiVersion.data(), kApiVersion.size());
  out["kind"] = json::string_view(kind_name.data(), kind_name.size());
  out["metadata"] = schema::encode_fields(schema::fields_of<ObjectMeta>(), &object.meta, &kNoMeta);
  const auto& body = schema::body_type(kind);
  for (auto& [key, value] : schema::encode_fields(body.fields(), schema::body_address(object.body), body.prototype())) {
    out.emplace(key, std::move(value));
  }
  return out;
}

std::string encode_text(const Object& object) { return boost::json::serialize(encode(object)); }

}  // namespace banger::api
