// SPDX-License-Identifier: Apache-2.0
#include "server/message.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace banger::server {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

enum class Plus { Literal, Space };

std::optional<std::string> percent_decode(std::string_view text, Plus plus) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]);
      const int low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus == Plus::Space) {
      c = ' ';
    }
    if (c == '\0') return std::nullopt;
    out.push_back(c);
  }
  return out;
}

}  // namespace

std::optional<Target> Target::parse(std::string_view text) {
  if (!text.starts_with('/')) return std::nullopt;
  const auto mark = text.find('?');
  Target target;
  for (const auto part : split(text.substr(1, mark == std::string_view::npos ? mark : mark - 1), '/')) {
    auto segment = percent_decode(part, Plus::Literal);
    if (!segment) return std::nullopt;
    target.segments_.push_back(*std::move(segment));
  }
  if (target.segments_.back().empty()) target.segments_.pop_back();
  if (mark == std::string_view::npos) return target;
  for (const auto pair : split(text.substr(mark + 1), '&')) {
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    auto name = percent_decode(pair.substr(0, equals), Plus::Space);
    auto value = percent_decode(equals == std::string_view::npos ? "" : pair.substr(equals + 1), Plus::Space);
    if (!name || !value) return std::nullopt;
    target.query_.emplace_back(*std::move(name), *std::move(value));
  }
  return target;
}

std::optional<std::string> Target::get(std::string_view name) const {
  const auto it = std::ranges::find(query_, name, &std::pair<std::string, std::string>::first);
  if (it == query_.end()) return std::nullopt;
  return it->second;
}

bool Target::flag(std::string_view name) const {
  const auto value = get(name);
  return value && *value != "false" && *value != "0";
}

}  // namespace banger::server
