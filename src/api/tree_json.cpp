// SPDX-License-Identifier: Apache-2.0
// JSON text and values to the tree. Boost.JSON's own value keeps the last of duplicate keys without a word, so the text is read
// through its event parser.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value.hpp>
#include <unordered_set>

#include "api/tree.hpp"
#include "base/text.hpp"

namespace banger::api::schema {
namespace {

namespace json = boost::json;

struct Open {
  TreeNode node;
  std::string key;                       // of the entry whose value comes next
  std::unordered_set<std::string> keys;  // of all entries, from the moment that there are many
  bool skip_value = false;
};

// Builds the tree bottom-up. The names and signatures are basic_parser's.
class TreeHandler {
 public:
  static constexpr std::size_t max_object_size = kMaxNodes;
  static constexpr std::size_t max_array_size = kMaxNodes;
  static constexpr std::size_t max_key_size = std::size_t{64} * 1024;
  static constexpr std::size_t max_string_size = std::size_t{4} * 1024 * 1024;

  TreeHandler(Duplicates duplicates, std::vector<Refusal>& refusals) : duplicates_(duplicates), refusals_(refusals) {}

  TreeNode take() { return std::move(root_); }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return open(TreeNode::Type::Map); }
  bool on_array_begin(json::error_code&) { return open(TreeNode::Type::List); }
  bool on_object_end(std::size_t, json::error_code&) { return close(); }
  bool on_array_end(std::size_t, json::error_code&) { return close(); }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    auto& top = stack_.back();
    top.key.swap(text_);
    text_.clear();
    top.skip_value = duplicates_ == Duplicates::Refused && has_key(top);
    if (top.skip_value) {
      refusals_.push_back({.field = path() + printable(top.key),
                           .reason = "FieldValueDuplicate",
                           .message = "this key stands twice in one object"});
    }
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code&) {
    text_.append(part.data(), part.size());
    return scalar(TreeNode::Type::Text, std::exchange(text_, {}));
  }
  bool on_number_part(json::string_view part, json::error_code&) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool on_int64(std::int64_t, json::string_view part, json::error_code&) { return number(part); }
  bool on_uint64(std::uint64_t, json::string_view part, json::error_code&) { return number(part); }
  bool on_double(double, json::string_view part, json::error_code&) { return number(part); }
  bool on_bool(bool value, json::error_code&) { return scalar(TreeNode::Type::Boolean, value ? "true" : "false"); }
  bool on_null(json::error_code&) { return scalar(TreeNode::Type::Null, "null"); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  // Whether the key that was just read has an entry already. Most objects are small, and a look at each key costs least.
  static bool has_key(Open& object) {
    constexpr std::size_t kFew = 16;
    const auto& entries = object.node.entries;
    if (entries.size() < kFew) return std::ranges::find(entries, object.key, &Entry::key) != entries.end();
    if (object.keys.empty()) {
      for (const auto& entry : entries) object.keys.insert(entry.key);
    }
    return !object.keys.insert(object.key).second;
  }
  bool open(TreeNode::Type type) {
    stack_.emplace_back();
    stack_.back().node.type = type;
    return true;
  }
  bool close() {
    auto node = std::move(stack_.back().node);
    stack_.pop_back();
    return add(std::move(node));
  }
  bool number(json::string_view part) {
    text_.append(part.data(), part.size());
    return scalar(TreeNode::Type::Number, std::exchange(text_, {}));
  }
  bool scalar(TreeNode::Type type, std::string text) {
    TreeNode node;
    node.type = type;
    node.text = std::move(text);
    return add(std::move(node));
  }
  bool add(TreeNode node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return true;
    }
    auto& top = stack_.back();
    if (top.node.type == TreeNode::Type::List) {
      top.node.items.push_back(std::move(node));
    } else if (!top.skip_value) {
      if (top.node.entries.empty()) top.node.entries.reserve(8);
      top.node.entries.push_back({.key = top.key, .value = std::move(node)});
    }
    return true;
  }
  // Of the object that is being read; where it is not the root, with a dot at its end.
  std::string path() const {
    std::string text;
    for (std::size_t i = 0; i + 1 < stack_.size(); ++i) {
      const auto& level = stack_[i];
      text += level.node.type == TreeNode::Type::List ? fmt::format("[{}]", level.node.items.size()) : printable(level.key);
      if (stack_[i + 1].node.type == TreeNode::Type::Map) text += '.';
    }
    return text;
  }

  Duplicates duplicates_;
  std::vector<Refusal>& refusals_;
  std::vector<Open> stack_;
  std::string text_;
  TreeNode root_;
};

std::string sentence_of(const json::error_code& error) {
  if (error == json::error::too_deep) return fmt::format("nested deeper than {} levels", kMaxDepth);
  if (error == json::error::object_too_large || error == json::error::array_too_large) {
    return fmt::format("holds more than {} members", kMaxNodes);
  }
  return fmt::format("is not JSON: {}", error.message());
}

bool build(const json::value& value, std::size_t depth, TreeNode& node) {
  if (depth > kMaxDepth) return false;
  switch (value.kind()) {
    case json::kind::object:
      node.type = TreeNode::Type::Map;
      for (const auto& [key, child] : value.get_object()) {
        node.entries.push_back({.key = std::string(key)});
        if (!build(child, depth + 1, node.entries.back().value)) return false;
      }
      return true;
    case json::kind::array:
      node.type = TreeNode::Type::List;
      for (const auto& child : value.get_array()) {
        if (!build(child, depth + 1, node.items.emplace_back())) return false;
      }
      return true;
    case json::kind::string:
      node.type = TreeNode::Type::Text;
      node.text = std::string(value.get_string());
      return true;
    case json::kind::bool_:
      node.type = TreeNode::Type::Boolean;
      node.text = value.get_bool() ? "true" : "false";
      return true;
    case json::kind::null:
      return true;
    case json::kind::int64:
      node.text = std::to_string(value.get_int64());
      break;
    case json::kind::uint64:
      node.text = std::to_string(value.get_uint64());
      break;
    case json::kind::double_:
      node.text = fmt::format("{}", value.get_double());
      break;
  }
  node.type = TreeNode::Type::Number;
  return true;
}

}  // namespace

std::optional<TreeNode> tree_of_json(std::string_view text, Duplicates duplicates, std::vector<Refusal>& refusals) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::basic_parser<TreeHandler> parser(options, duplicates, refusals);
  json::error_code error;
  const auto used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && used < text.size()) error = json::error::extra_data;
  if (error) {
    refusals.push_back({.reason = "Syntax", .message = fmt::format("{} (at byte {})", sentence_of(error), used)});
    return std::nullopt;
  }
  return parser.handler().take();
}

std::optional<TreeNode> tree_of_json(const json::value& value, std::vector<Refusal>& refusals) {
  TreeNode root;
  if (build(value, 1, root)) return root;
  refusals.push_back({.reason = "Syntax", .message = fmt::format("nested deeper than {} levels", kMaxDepth)});
  return std::nullopt;
}

}  // namespace banger::api::schema
