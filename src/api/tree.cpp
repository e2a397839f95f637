// SPDX-License-Identifier: Apache-2.0
#include "api/tree.hpp"

#include <fmt/format.h>

#include <cstdint>

#include "api/formats.hpp"
#include "base/text.hpp"

namespace banger::api::schema {
namespace {

bool continues(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<std::uint8_t>(text[at]) & 0xc0U) == 0x80U;
}

// Length of the UTF-8 sequence at the front of text; 0: not one (overlong, a surrogate, beyond U+10FFFF, cut short).
std::size_t sequence_length(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  if (lead < 0x80U) return 1;
  if (!continues(text, 1)) return 0;
  const auto second = static_cast<std::uint8_t>(text[1]);
  if (lead >= 0xc2U && lead <= 0xdfU) return 2;
  if (!continues(text, 2)) return 0;
  if (lead >= 0xe0U && lead <= 0xefU) {
    const bool overlong = lead == 0xe0U && second < 0xa0U;
    const bool surrogate = lead == 0xedU && second > 0x9fU;
    return overlong || surrogate ? 0 : 3;
  }
  if (!continues(text, 3) || lead < 0xf0U || lead > 0xf4U) return 0;
  const bool overlong = lead == 0xf0U && second < 0x90U;
  const bool beyond = lead == 0xf4U && second > 0x8fU;
  return overlong || beyond ? 0 : 4;
}

}  // namespace

std::optional<BadByte> find_bad_byte(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<std::uint8_t>(text[at]);
    if (byte == 0) return BadByte{.offset = at, .problem = "a NUL character is not allowed"};
    // yaml-cpp takes 0x04 for the end of the input.
    if ((byte < 0x20U && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7fU) {
      return BadByte{.offset = at, .problem = fmt::format("the control character 0x{:02x} is not allowed", byte)};
    }
    const auto length = sequence_length(text.substr(at));
    if (length == 0) return BadByte{.offset = at, .problem = fmt::format("the byte 0x{:02x} is not valid UTF-8", byte)};
    at += length;
  }
  return std::nullopt;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto length = sequence_length(text);
    out += length == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string described(const TreeNode& node) {
  switch (node.type) {
    case TreeNode::Type::Null:
      return "null";
    case TreeNode::Type::Boolean:
      return fmt::format("the boolean {}", printable(node.text));
    case TreeNode::Type::Number:
      return fmt::format("the number {}", printable(std::string_view(node.text).substr(0, 40)));
    case TreeNode::Type::Text:
      return fmt::format("the text {}", shown(node.text));
    case TreeNode::Type::List:
      return "a list";
    case TreeNode::Type::Map:
      return "a map";
    case TreeNode::Type::Refused:
      break;
  }
  return "refused";
}

}  // namespace banger::api::schema
