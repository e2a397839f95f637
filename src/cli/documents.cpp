// SPDX-License-Identifier: Apache-2.0
#include "cli/documents.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/codec.hpp"
#include "base/text.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

// Code point at the front of text and its length in bytes; text is valid UTF-8 (the JSON parser saw to it).
struct CodePoint {
  std::uint32_t value;
  std::size_t bytes;
};

CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])) : 0;
  };
  const auto lead = byte(0);
  if (lead < 0x80U) return {lead, 1};
  if (lead < 0xe0U) return {((lead & 0x1fU) << 6U) | (byte(1) & 0x3fU), 2};
  if (lead < 0xf0U) return {((lead & 0x0fU) << 12U) | ((byte(1) & 0x3fU) << 6U) | (byte(2) & 0x3fU), 3};
  return {((lead & 0x07U) << 18U) | ((byte(1) & 0x3fU) << 12U) | ((byte(2) & 0x3fU) << 6U) | (byte(3) & 0x3fU), 4};
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const auto [value, bytes] = first_code_point(text);
    const auto piece = text.substr(0, bytes);
    text.remove_prefix(piece.size());
    if (value == '"' || value == '\\') {
      out += '\\';
      out += piece;
    } else if (value == '\n') {
      out += "\\n";
    } else if (value == '\t') {
      out += "\\t";
    } else if (value <= 0xffffU && printable(piece) != piece) {
      out += fmt::format("\\u{:04x}", value);
    } else {
      out += piece;
    }
  }
  return out + '"';
}

void append(std::string& out, const json::value& value, std::size_t depth) {
  const std::string indent(2 * depth, ' ');
  if (value.is_object() && !value.as_object().empty()) {
    out += "{\n";
    std::size_t left = value.as_object().size();
    for (const auto& [name, member] : value.as_object()) {
      out += fmt::format("{}  {}: ", indent, quoted(name));
      append(out, member, depth + 1);
      out += --left > 0 ? ",\n" : "\n";
    }
    out += indent + '}';
  } else if (value.is_array() && !value.as_array().empty()) {
    out += "[\n";
    std::size_t left = value.as_array().size();
    for (const auto& element : value.as_array()) {
      out += indent + "  ";
      append(out, element, depth + 1);
      out += --left > 0 ? ",\n" : "\n";
    }
    out += indent + ']';
  } else if (value.is_string()) {
    out += quoted(value.as_string());
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

const json::value* find_at(const json::value& document, std::string_view path) {
  const auto* at = &document;
  for (const auto part : split(path, '.')) {
    if (!at->is_object()) return nullptr;
    at = at->as_object().if_contains(part);
    if (at == nullptr) return nullptr;
  }
  return at;
}

std::string text_of(const json::value* value) {
  if (value == nullptr || value->is_null() || value->is_object() || value->is_array()) return {};
  if (value->is_string()) return std::string(value->as_string());
  return json::serialize(*value);
}

std::string text_at(const json::value& document, std::string_view path) { return text_of(find_at(document, path)); }

std::string pretty_json(const json::value& document) {
  std::string out;
  append(out, document, 0);
  return out;
}

std::string clean_yaml(const json::value& document) {
  std::string out;
  const auto text = api::yaml_of(document);
  auto rest = std::string_view(text);
  if (rest.ends_with('\n')) rest.remove_suffix(1);
  for (const auto line : split(rest, '\n')) out += printable(line) + '\n';
  return out;
}

}  // namespace banger::cli
