// SPDX-License-Identifier: Apache-2.0
// The small tree that YAML and JSON both become before the schema reads it.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"

namespace banger::api::schema {

struct Entry;

struct TreeNode {
  // Refused: already reported; whoever meets it says nothing more.
  enum class Type { Null, Boolean, Number, Text, List, Map, Refused };

  Type type = Type::Null;
  bool plain = false;  // YAML without quotes: the type was guessed from the text
  std::size_t line = 0;
  std::size_t column = 0;
  std::string text;  // of a scalar, as it was written
  std::vector<TreeNode> items;
  std::vector<Entry> entries;  // in the order of the text, keys unique
};

struct Entry {
  std::string key;
  std::size_t line = 0;
  std::size_t column = 0;
  TreeNode value;
};

inline constexpr std::size_t kMaxDepth = 32;
inline constexpr std::size_t kMaxNodes = 20'000;

enum class Duplicates { Refused, LastWins };

// The tree of a JSON text; refusals gets what is wrong with it, and nothing is returned when it cannot be read at all.
std::optional<TreeNode> tree_of_json(std::string_view text, Duplicates duplicates, std::vector<Refusal>& refusals);
// The tree of a value. Depth beyond kMaxDepth is refused.
std::optional<TreeNode> tree_of_json(const boost::json::value& value, std::vector<Refusal>& refusals);

// One document of a YAML file.
struct YamlDocument {
  TreeNode root;
  std::size_t line = 1;
  std::vector<Refusal> refusals;
};
// Every document of the text that could be read; refusals holds what keeps the text from being read (further) at all.
std::vector<YamlDocument> trees_of_yaml(std::string_view text, std::vector<Refusal>& refusals);

// The first place where text is not valid UTF-8 or holds a control character other than tab and line ends.
struct BadByte {
  std::size_t offset = 0;
  std::string problem;
};
std::optional<BadByte> find_bad_byte(std::string_view text);

// text with every byte that is not valid UTF-8 replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

// What stands there, for messages: "a map", "the number 7", "the text \"abc\"".
std::string described(const TreeNode& node);

}  // namespace banger::api::schema
