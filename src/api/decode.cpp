// SPDX-License-Identifier: Apache-2.0
#include "api/decode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.hpp"

namespace banger::api::schema {
namespace {

std::string join_path(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  const auto best = nearest(word, candidates);
  return best.empty() ? std::string{} : fmt::format("; did you mean \"{}\"?", best);
}

}  // namespace

const Entry* find_entry(const TreeNode& map, std::string_view key) {
  const auto found = std::ranges::find(map.entries, key, &Entry::key);
  return found == map.entries.end() ? nullptr : &*found;
}

void Decoder::refuse(const TreeNode& node, std::string_view path, std::string_view reason, std::string message) {
  refusals_.push_back({.line = node.line,
                       .column = node.column,
                       .field = std::string(path),
                       .reason = std::string(reason),
                       .message = std::move(message)});
}

void Decoder::refuse_unknown(const Entry& entry, std::span<const std::string_view> known, std::string_view path) {
  if (writer_ == Writer::Stored) return;
  refusals_.push_back({.line = entry.line,
                       .column = entry.column,
                       .field = join_path(path, printable(std::string_view(entry.key).substr(0, 64))),
                       .reason = "UnknownField",
                       .message = "unknown field" + did_you_mean(entry.key, known)});
}

void Decoder::read_fields(const TreeNode& node, std::span<const Field> fields, void* owner, std::string_view path) {
  if (node.type == TreeNode::Type::Refused) return;
  if (node.type != TreeNode::Type::Map) {
    refuse(node, path, "FieldValueTypeInvalid", fmt::format("must be a map, is {}", described(node)));
    return;
  }
  for (const auto& entry : node.entries) {
    const auto field = std::ranges::find(fields, entry.key, &Field::name);
    if (field != fields.end()) {
      read_field(entry.value, *field, owner, path);
    } else {
      std::vector<std::string_view> names;
      for (const auto& row : fields) names.push_back(row.name);
      refuse_unknown(entry, names, path);
    }
  }
  for (const auto& field : fields) {
    if (find_entry(node, field.name) == nullptr) read_absent(field, owner, path);
  }
}

void Decoder::read_field(const TreeNode& node, const Field& field, void* owner, std::string_view path) {
  const auto here = join_path(path, field.name);
  if (field.server_owned && writer_ == Writer::Manifest) {
    refuse({.line = 0}, here, "FieldValueForbidden", "is set by bangerd and cannot stand in a manifest; remove it");
    return;
  }
  if (node.type == TreeNode::Type::Refused) return;
  if (node.type == TreeNode::Type::Null) {
    read_absent(field, owner, path);
    return;
  }
  read_value(node, field, field.member.type(), field.member.make(owner), here);
}

void Decoder::read_absent(const Field& field, void* owner, std::string_view path) {
  if (writer_ == Writer::Stored || (field.server_owned && writer_ == Writer::Manifest)) return;
  const auto& type = field.member.type();
  if (type.shape == Shape::Struct && !field.member.optional) {
    static const TreeNode kNothing = [] {
      TreeNode node;
      node.type = TreeNode::Type::Map;
      return node;
    }();
    if (!field.server_owned) read_fields(kNothing, type.fields(), field.member.make(owner), join_path(path, field.name));
    return;
  }
  if (field.when_absent != nullptr) field.when_absent(field.member.make(owner));
  if (!field.required) return;
  // A member with a value of its own is not missing.
  const auto* value = field.member.get(owner);
  const bool filled = value != nullptr && type.shape == Shape::Text && !static_cast<const std::string*>(value)->empty();
  if (!filled) refuse({}, join_path(path, field.name), "FieldValueRequired", "is required");
}

void Decoder::read_value(const TreeNode& node, const Field& field, const Type& type, void* target, const std::string& path) {
  if (node.type == TreeNode::Type::Refused) return;
  switch (type.shape) {
    case Shape::Text:
      return read_text(node, *static_cast<std::string*>(target), path);
    case Shape::Struct:
      return read_fields(node, type.fields(), target, path);
    case Shape::List:
      return read_list(node, field, type, target, path);
    case Shape::TextMap:
      return read_map(node, *static_cast<std::map<std::string, std::string>*>(target), path);
    default:
      return read_number(node, field, type, target, path);
  }
}

void Decoder::read_text(const TreeNode& node, std::string& target, const std::string& path) {
  // In YAML people write names, versions and dates without quotes; only what every reader takes for something else is refused.
  if (node.type == TreeNode::Type::Text || (node.type == TreeNode::Type::Number && node.plain)) {
    target = node.text;
    return;
  }
  const bool quotable = node.plain && (node.type == TreeNode::Type::Boolean || node.type == TreeNode::Type::Null);
  refuse(node, path, "FieldValueTypeInvalid",
         fmt::format("must be a string, is {}{}", described(node), quotable ? "; put it in quotes" : ""));
}

void Decoder::read_list(const TreeNode& node, const Field& field, const Type& type, void* target, const std::string& path) {
  if (node.type != TreeNode::Type::List) {
    refuse(node, path, "FieldValueTypeInvalid", fmt::format("must be a list, is {}", described(node)));
    return;
  }
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    read_value(node.items[i], field, type.element(), type.append(target), fmt::format("{}[{}]", path, i));
  }
}

void Decoder::read_map(const TreeNode& node, std::map<std::string, std::string>& target, const std::string& path) {
  if (node.type != TreeNode::Type::Map) {
    refuse(node, path, "FieldValueTypeInvalid", fmt::format("must be a map of strings, is {}", described(node)));
    return;
  }
  for (const auto& entry : node.entries) {
    read_text(entry.value, target[entry.key], fmt::format("{}[{}]", path, printable(std::string_view(entry.key).substr(0, 64))));
  }
}

void Decoder::read_number(const TreeNode& node, const Field& field, const Type& type, void* target, const std::string& path) {
  const auto number = number_of(node, field, type, path);
  if (!number) return;
  if (*number < type.lowest || *number > type.highest) {
    refuse(node, path, "FieldValueInvalid", fmt::format("must be between {} and {}, is {}", type.lowest, type.highest, *number));
    return;
  }
  type.write(target, *number);
}

std::optional<std::int64_t> Decoder::number_of(const TreeNode& node, const Field& field, const Type& type,
                                               const std::string& path) {
  const bool scalar = node.type == TreeNode::Type::Text || node.type == TreeNode::Type::Number;
  switch (type.shape) {
    case Shape::Enum:
      return spelling_of(node, type, path);
    case Shape::Quantity: {
      if (!scalar) break;
      const auto size = parse_quantity(node.text);
      if (size) return static_cast<std::int64_t>(size->value);
      refuse(node, path, "FieldValueInvalid", size.error().message);
      return std::nullopt;
    }
    case Shape::Time: {
      const auto time = node.type == TreeNode::Type::Text ? parse_time(node.text) : std::nullopt;
      if (time) return time->time_since_epoch().count();
      refuse(node, path, "FieldValueTypeInvalid",
             fmt::format("must be a time such as 2030-01-31T12:00:00Z, is {}", described(node)));
      return std::nullopt;
    }
    default:
      return integer_of(node, field, path);
  }
  refuse(node, path, "FieldValueTypeInvalid", fmt::format("must be a size such as 512Mi, 1.5Gi or 4G, is {}", described(node)));
  return std::nullopt;
}

std::optional<std::int64_t> Decoder::integer_of(const TreeNode& node, const Field& field, const std::string& path) {
  if (field.format == Format::FileMode) return mode_of(node, path);
  const auto wanted = field.format == Format::DecimalText ? TreeNode::Type::Text : TreeNode::Type::Number;
  const std::string_view text = node.text;
  const auto digits = text.starts_with('-') ? text.substr(1) : text;
  const bool leading_zero = digits.size() > 1 && digits.starts_with('0');
  std::int64_t number = 0;
  if (node.type == wanted && !leading_zero) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc{} && end == text.data() + text.size()) return number;
    if (error == std::errc::result_out_of_range) {
      refuse(node, path, "FieldValueInvalid", fmt::format("is too large: {}", printable(text.substr(0, 40))));
      return std::nullopt;
    }
  }
  if (wanted == TreeNode::Type::Text) {
    refuse(node, path, "FieldValueTypeInvalid", fmt::format("must be a string of decimal digits, is {}", described(node)));
  } else {
    const bool quoted =
        node.type == TreeNode::Type::Text && !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
    refuse(node, path, "FieldValueTypeInvalid",
           fmt::format("must be a whole number, is {}{}", described(node),
                       quoted ? "; remove the quotes" : (leading_zero ? "; remove the leading zero" : "")));
  }
  return std::nullopt;
}

std::optional<std::int64_t> Decoder::mode_of(const TreeNode& node, const std::string& path) {
  // JSON has no octal numbers: there a number is the mode itself, as in Kubernetes.
  if (node.type == TreeNode::Type::Number && !node.plain) {
    std::int64_t number = 0;
    const auto* end = node.text.data() + node.text.size();
    if (const auto read = std::from_chars(node.text.data(), end, number); read.ec == std::errc{} && read.ptr == end)
      return number;
  } else if (node.type == TreeNode::Type::Number || node.type == TreeNode::Type::Text) {
    if (const auto mode = parse_mode(node.text)) return mode;
  }
  refuse(node, path, "FieldValueInvalid",
         fmt::format("must be a file mode in octal with a leading zero such as 0644, is {}", described(node)));
  return std::nullopt;
}

std::optional<std::int64_t> Decoder::spelling_of(const TreeNode& node, const Type& type, const std::string& path) {
  const auto spellings = type.spellings();
  if (node.type == TreeNode::Type::Text) {
    const auto found = std::ranges::find(spellings, node.text);
    if (found != spellings.end()) return found - spellings.begin();
  }
  const auto hint = node.type == TreeNode::Type::Text ? did_you_mean(node.text, spellings) : std::string{};
  refuse(node, path, "FieldValueNotSupported",
         fmt::format("must be one of {}, is {}{}", fmt::join(spellings, ", "),
                     node.type == TreeNode::Type::Text ? shown(node.text) : described(node), hint));
  return std::nullopt;
}

Result<void> read_stored(std::string_view json_text, const Type& type, void* value) {
  std::vector<Refusal> refusals;
  const auto root = tree_of_json(json_text, Duplicates::LastWins, refusals);
  if (root) Decoder(Writer::Stored, refusals).read_fields(*root, type.fields(), value, "");
  if (refusals.empty()) return {};
  return fail(invalid(to_string(refusals.front(), "")));
}

}  // namespace banger::api::schema
