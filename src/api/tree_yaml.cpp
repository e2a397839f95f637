// SPDX-License-Identifier: Apache-2.0
// YAML text to trees, on yaml-cpp's event interface. What makes YAML dangerous (anchors, aliases, tags, merge keys, duplicate
// keys, depth) is refused on the way; a YAML::Node, whose aliases can be cyclic and whose maps are searched linearly, is never
// built.
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <unordered_map>

#include "api/formats.hpp"
#include "api/tree.hpp"
#include "base/text.hpp"

namespace banger::api::schema {
namespace {

constexpr std::size_t kMaxText = std::size_t{128} * 1024;
// yaml-cpp's scanner looks ahead over brackets before it reports the first of them, at some 250 bytes each; what no sane file
// holds is refused before it runs. Brackets inside strings count here too, so the limits are far above kMaxDepth.
constexpr std::size_t kMaxOpenBrackets = 512;

// Stops the parser from inside the handler; the refusal was reported.
struct Stop {};

std::size_t characters_in(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
};

Position position_at(std::string_view text, std::size_t offset) {
  const auto before = text.substr(0, offset);
  const auto line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return {.line = 1 + static_cast<std::size_t>(std::ranges::count(before, '\n')),
          .column = 1 + characters_in(before.substr(line_start))};
}

Refusal syntax_at(Position at, std::string message) {
  return {.line = at.line, .column = at.column, .reason = "Syntax", .message = std::move(message)};
}

bool is_number(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return false;
  if (text == ".inf" || text == ".Inf" || text == ".INF") return true;
  if (text.starts_with("0x") || text.starts_with("0o")) {
    return text.size() > 2 && text.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string_view::npos;
  }
  const auto digits = [&] {
    const auto count = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(count);
    return count;
  };
  auto count = digits();
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    count += digits();
  }
  if (count == 0) return false;
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  return text.empty();
}

// What YAML 1.2's core schema makes of a scalar without quotes. So `no` and `on` are texts, as people mean them.
TreeNode::Type plain_type(std::string_view text) {
  static constexpr std::array<std::string_view, 5> kNulls{"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 6> kBooleans{"true", "True", "TRUE", "false", "False", "FALSE"};
  if (std::ranges::find(kNulls, text) != kNulls.end()) return TreeNode::Type::Null;
  if (std::ranges::find(kBooleans, text) != kBooleans.end()) return TreeNode::Type::Boolean;
  return is_number(text) || text == ".nan" || text == ".NaN" || text == ".NAN" ? TreeNode::Type::Number : TreeNode::Type::Text;
}

// What is counted over the whole file.
struct Budget {
  std::size_t nodes = 0;
  std::size_t documents = 0;
  // The last column asked for: the next one is counted from there, so that a long line costs its length once.
  int line = -1;
  std::size_t offset = 0;
  std::size_t column = 0;
};

struct OpenNode {
  TreeNode node;
  bool has_key = false;
  bool drop = false;  // the entry whose value comes next was refused
  Entry entry;
  std::unordered_map<std::string, std::size_t> lines;  // of the keys seen
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, YamlDocument& document, Budget& budget)
      : text_(text), document_(document), budget_(budget) {}

  // What is left over after a document ("a: 1 }") yaml-cpp hands out as another one, without end if it cannot be read.
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (budget_.documents++ == 0 || text_.substr(std::min(offset_of(mark), text_.size())).starts_with("---")) return;
    refuse(node_at(mark, TreeNode::Type::Refused), "Syntax",
           "is not YAML: text after the end of the document; start the next one with a line of ---");
    throw Stop{};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = node_at(mark, TreeNode::Type::Null);
    node.plain = true;
    node.text = "null";
    guard(node, "?", anchor);
    add(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    auto node = node_at(mark, TreeNode::Type::Refused);
    refuse(node, "Syntax", "aliases (*name) are not supported; write the value out");
    add(std::move(node));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    auto node = node_at(mark, TreeNode::Type::Text);
    // "!" stands for quotes, unless it was really written.
    node.plain = tag == "?";
    const bool written = tag == "!" && offset_of(mark) < text_.size() && text_[offset_of(mark)] == '!';
    guard(node, written ? "!!" : tag, anchor);
    node.text = value;
    if (node.type == TreeNode::Type::Text && node.plain) node.type = plain_type(value);
    // At the end of the text yaml-cpp closes quotes by itself: a half-written file would be taken for a whole one.
    if (tag == "!" && !is_closed(offset_of(mark))) {
      refuse(node, "Syntax", "is not YAML: the quotes that open here are not closed");
      node.type = TreeNode::Type::Refused;
    }
    if (const auto bad = find_bad_byte(value); bad && node.type != TreeNode::Type::Refused) {
      refuse(node, "FieldValueInvalid", fmt::format("{} in a string", bad->problem));
      node.type = TreeNode::Type::Refused;
    }
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, TreeNode::Type::List, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(mark, TreeNode::Type::Map, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  std::size_t offset_of(const YAML::Mark& mark) const { return static_cast<std::size_t>(std::max(mark.pos, 0)); }

  // In characters, from 0; yaml-cpp counts bytes.
  std::size_t column_of(const YAML::Mark& mark) {
    const auto offset = std::min(offset_of(mark), text_.size());
    if (mark.line != budget_.line || offset < budget_.offset) {
      const auto start = offset - std::min(offset, static_cast<std::size_t>(std::max(mark.column, 0)));
      budget_.column = characters_in(text_.substr(start, offset - start));
    } else {
      budget_.column += characters_in(text_.substr(budget_.offset, offset - budget_.offset));
    }
    budget_.line = mark.line;
    budget_.offset = offset;
    return budget_.column;
  }

  TreeNode node_at(const YAML::Mark& mark, TreeNode::Type type) {
    TreeNode node;
    node.type = type;
    node.line = static_cast<std::size_t>(std::max(mark.line, 0)) + 1;
    node.column = column_of(mark) + 1;
    if (++budget_.nodes > kMaxNodes) {
      refuse(node, "Syntax", fmt::format("more than {} values in one file", kMaxNodes));
      throw Stop{};
    }
    return node;
  }

  // False: the quotes that open at the offset run to the end of the text.
  bool is_closed(std::size_t offset) const {
    if (offset >= text_.size() || (text_[offset] != '"' && text_[offset] != '\'')) return true;
    const char quote = text_[offset];
    for (auto at = offset + 1; at < text_.size(); ++at) {
      if (quote == '"' && text_[at] == '\\') {
        ++at;
      } else if (text_[at] == quote) {
        if (quote == '"' || at + 1 >= text_.size() || text_[at + 1] != quote) return true;
        ++at;
      }
    }
    return false;
  }

  void guard(TreeNode& node, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) {
      refuse(node, "Syntax", "anchors (&name) are not supported; remove it");
      node.type = TreeNode::Type::Refused;
    }
    if (!tag.empty() && tag != "?" && tag != "!") {
      refuse(node, "Syntax", "tags (!name) are not supported; remove it");
      node.type = TreeNode::Type::Refused;
    }
  }

  void open(const YAML::Mark& mark, TreeNode::Type type, const std::string& tag, YAML::anchor_t anchor) {
    auto node = node_at(mark, type);
    guard(node, tag == "!" ? "!!" : tag, anchor);  // collections have no quotes
    if (stack_.size() >= kMaxDepth) {
      refuse(node, "Syntax", fmt::format("nested deeper than {} levels", kMaxDepth));
      throw Stop{};
    }
    // What is inside is still read, so that the events pair up.
    const bool refused = node.type == TreeNode::Type::Refused;
    node.type = type;
    node.plain = refused;
    stack_.push_back({.node = std::move(node)});
  }

  void close() {
    auto node = std::move(stack_.back().node);
    stack_.pop_back();
    if (std::exchange(node.plain, false)) node.type = TreeNode::Type::Refused;
    add(std::move(node));
  }

  void add(TreeNode node) {
    if (stack_.empty()) {
      document_.root = std::move(node);
      return;
    }
    auto& top = stack_.back();
    if (top.node.type == TreeNode::Type::List) {
      top.node.items.push_back(std::move(node));
    } else if (!top.has_key) {
      take_key(top, node);
    } else {
      top.entry.value = std::move(node);
      if (!top.drop) top.node.entries.push_back(std::move(top.entry));
      top.has_key = false;
    }
  }

  void take_key(OpenNode& top, const TreeNode& node) {
    top.has_key = true;
    top.drop = true;
    top.entry = {.key = node.text, .line = node.line, .column = node.column};
    if (node.type == TreeNode::Type::Refused) return;
    if (node.type != TreeNode::Type::Text) {
      const bool quotable = node.type != TreeNode::Type::Map && node.type != TreeNode::Type::List;
      return refuse(node, "Syntax",
                    fmt::format("a key must be a string, is {}{}", described(node), quotable ? "; put it in quotes" : ""));
    }
    if (node.plain && node.text == "<<") return refuse(node, "Syntax", "merge keys (<<) are not supported; write the values out");
    const auto [seen, added] = top.lines.emplace(node.text, node.line);
    if (!added) {
      return refuse(node, "FieldValueDuplicate",
                    fmt::format("the key {} stands here twice, first in line {}", shown(node.text), seen->second));
    }
    top.drop = false;
  }

  // "spec.disks[0]" of what is being read.
  std::string path() const {
    std::string text;
    for (const auto& level : stack_) {
      if (level.node.type == TreeNode::Type::List) {
        text += fmt::format("[{}]", level.node.items.size());
      } else if (level.has_key && !level.entry.key.empty()) {
        text += (text.empty() ? "" : ".") + printable(std::string_view(level.entry.key).substr(0, 64));
      }
    }
    return text;
  }

  void refuse(const TreeNode& node, std::string_view reason, std::string message) {
    document_.refusals.push_back({.line = node.line,
                                  .column = node.column,
                                  .field = path(),
                                  .reason = std::string(reason),
                                  .message = std::move(message)});
  }

  std::string_view text_;
  YamlDocument& document_;
  Budget& budget_;
  std::vector<OpenNode> stack_;
};

bool is_indented_by_tab(std::string_view text, std::size_t offset) {
  const auto start = text.substr(0, offset).rfind('\n') + 1;
  const auto indent = text.substr(start, text.find_first_not_of(" \t", start) - start);
  return indent.find('\t') != std::string_view::npos;
}

std::optional<Refusal> unreadable(std::string_view text) {
  if (text.size() > kMaxText) {
    return syntax_at({}, fmt::format("the file is longer than the {} bytes (128 KiB) that a manifest may have", kMaxText));
  }
  if (const auto bad = find_bad_byte(text)) return syntax_at(position_at(text, bad->offset), bad->problem);
  std::size_t open = 0;
  std::size_t total = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '[' || c == '{') {
      ++open;
      ++total;
    } else if ((c == ']' || c == '}') && open > 0) {
      --open;
    }
    if (open > kMaxOpenBrackets) {
      return syntax_at(position_at(text, at), fmt::format("more than {} brackets are open", kMaxOpenBrackets));
    }
    if (total > kMaxNodes) return syntax_at(position_at(text, at), fmt::format("more than {} brackets in one file", kMaxNodes));
  }
  return std::nullopt;
}

}  // namespace

std::vector<YamlDocument> trees_of_yaml(std::string_view text, std::vector<Refusal>& refusals) {
  std::vector<YamlDocument> documents;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (auto refusal = unreadable(text)) {
    refusals.push_back(*std::move(refusal));
    return documents;
  }
  std::istringstream stream{std::string(text)};
  Budget budget;
  YamlDocument document;
  try {
    for (YAML::Parser parser(stream);;) {
      document = {};
      TreeBuilder builder(text, document, budget);
      if (!parser.HandleNextDocument(builder)) return documents;
      document.line = document.root.line;
      const bool empty = document.root.type == TreeNode::Type::Null && document.refusals.empty();
      if (!empty) documents.push_back(std::move(document));
    }
  } catch (const Stop&) {
    // The document says why itself.
  } catch (const YAML::Exception& error) {
    const auto offset = error.mark.is_null() ? text.size() : std::min(static_cast<std::size_t>(error.mark.pos), text.size());
    document.refusals.push_back(
        syntax_at(position_at(text, offset),
                  fmt::format("is not YAML: {}{}", error.msg,
                              is_indented_by_tab(text, offset) ? "; lines are indented by spaces, not by tabs" : "")));
  } catch (const std::exception& error) {
    document.refusals.push_back(syntax_at({}, fmt::format("cannot be read: {}", error.what())));
  }
  std::ranges::move(document.refusals, std::back_inserter(refusals));
  return documents;
}

}  // namespace banger::api::schema
