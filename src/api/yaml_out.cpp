// SPDX-License-Identifier: Apache-2.0
// JSON as YAML for people: block style, quotes only where another reader could take a text for something else.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cctype>

#include "api/codec.hpp"
#include "base/inet.hpp"

namespace banger::api {
namespace {

namespace json = boost::json;

bool is_reserved(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kWords{"null", "~",   "true", "false", "yes", "no",
                                                           "on",   "off", "y",    "n",     "<<",  "---"};
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::ranges::find(kWords, lower) != kWords.end();
}

// Texts that look like numbers, times or base-60 integers begin with a digit, a sign or a dot.
bool looks_like_number(std::string_view text) {
  const auto rest =
      text.substr(text.find_first_not_of("+-.") == std::string_view::npos ? text.size() : text.find_first_not_of("+-."));
  if (rest.empty()) return true;
  if (parse_ipv4(text)) return false;
  if (rest.front() < '0' || rest.front() > '9') return rest.size() != text.size();
  return rest.find_first_not_of("0123456789abcdefABCDEFxo_:+-.eTZ ") == std::string_view::npos;
}

bool is_plain(std::string_view text) {
  if (text.empty() || is_reserved(text) || looks_like_number(text)) return false;
  if (std::ranges::any_of(
          text, [](char c) { return static_cast<unsigned char>(c) < 0x20U || static_cast<unsigned char>(c) >= 0x7fU; })) {
    return false;
  }
  if (std::string_view("-?:,[]{}#&*!|>'\"%@` =").find(text.front()) != std::string_view::npos || text.back() == ' ') return false;
  if (text.back() == ':') return false;
  return text.find(": ") == std::string_view::npos && text.find(" #") == std::string_view::npos &&
         text.find_first_of("[]{},") == std::string_view::npos;
}

// JSON's quotes and escapes are YAML's too.
std::string scalar(const json::value& value) {
  if (!value.is_string()) return json::serialize(value);
  const auto& text = value.get_string();
  if (is_plain({text.data(), text.size()})) return {text.data(), text.size()};
  auto quoted = json::serialize(value);
  // JSON leaves DEL as it is, which readers of YAML refuse.
  for (std::size_t at = 0; (at = quoted.find('\x7f', at)) != std::string::npos;) quoted.replace(at, 1, "\\x7f");
  return quoted;
}

// Several lines as a block, where nothing of them needs an escape.
bool is_block(const json::value& value) {
  if (!value.is_string()) return false;
  const std::string_view text(value.get_string().data(), value.get_string().size());
  if (text.find('\n') == std::string_view::npos || text.front() == ' ' || text.front() == '\n' || text.front() == '\t')
    return false;
  return std::ranges::none_of(
      text, [](char c) { return (static_cast<unsigned char>(c) < 0x20U && c != '\n' && c != '\t') || c == 0x7f; });
}

void write_block(const json::value& value, std::size_t indent, std::string& out) {
  std::string_view text(value.get_string().data(), value.get_string().size());
  // The sign says what becomes of line ends at the end: "-" none, "" one, "+" all.
  const bool one = text.ends_with('\n');
  const bool many = text.ends_with("\n\n");
  out += many ? " |+\n" : (one ? " |\n" : " |-\n");
  if (one) text.remove_suffix(1);
  for (;;) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    if (!line.empty()) out += std::string(indent, ' ') + std::string(line);
    out += '\n';
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

void write(const json::value& value, std::size_t indent, std::string& out);

void write_map(const json::object& object, std::size_t indent, std::string& out) {
  bool first = true;
  for (const auto& [key, value] : object) {
    // The first line of a map in a list stands behind the dash.
    if (!std::exchange(first, false)) out += std::string(indent, ' ');
    out += scalar(json::value(key)) + ":";
    const bool list = value.is_array() && !value.get_array().empty();
    const bool map = value.is_object() && !value.get_object().empty();
    if (is_block(value)) {
      write_block(value, indent + 2, out);
    } else if (list || map) {
      const auto inner = list ? indent : indent + 2;
      out += "\n" + std::string(inner, ' ');
      write(value, inner, out);
    } else {
      out += " " + scalar(value) + "\n";
    }
  }
}

void write(const json::value& value, std::size_t indent, std::string& out) {
  if (value.is_object() && !value.get_object().empty()) return write_map(value.get_object(), indent, out);
  if (!value.is_array() || value.get_array().empty()) {
    out += scalar(value) + "\n";
    return;
  }
  bool first = true;
  for (const auto& item : value.get_array()) {
    if (!std::exchange(first, false)) out += std::string(indent, ' ');
    out += "-";
    if (is_block(item)) {
      write_block(item, indent + 2, out);
    } else {
      out += " ";
      write(item, indent + 2, out);
    }
  }
}

}  // namespace

std::string yaml_of(const json::value& json) {
  std::string out;
  write(json, 0, out);
  return out;
}

std::string encode_yaml(const Object& object) { return yaml_of(encode(object)); }

}  // namespace banger::api
