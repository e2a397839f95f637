// SPDX-License-Identifier: Apache-2.0
#include "server/selector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.hpp"

namespace banger::server {
namespace {

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Splits at commas that are not inside parentheses.
std::vector<std::string_view> split_requirements(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')') --depth;
    if (text[i] == ',' && depth == 0) {
      parts.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  parts.push_back(text.substr(start));
  return parts;
}

bool is_label_text(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
           c == '/';
  });
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool listed(const std::vector<std::string>& values, const std::string& value) {
  return std::ranges::find(values, value) != values.end();
}

Error bad(std::string_view text, std::string_view expected) {
  return invalid(fmt::format("unable to parse requirement \"{}\": {}", printable(text), expected));
}

using FieldReader = std::string (*)(const api::Object&);
struct Field {
  std::string_view name;
  FieldReader read;
  bool events_only;
};

const api::Event& event_of(const api::Object& object) { return std::get<api::Event>(object.body); }

constexpr Field kFields[] = {
    {"metadata.name", [](const api::Object& o) { return o.meta.name; }, false},
    {"metadata.namespace", [](const api::Object& o) { return o.meta.ns; }, false},
    {"involvedObject.kind", [](const api::Object& o) { return std::string(api::info(event_of(o).involved.kind).name); }, true},
    {"involvedObject.namespace", [](const api::Object& o) { return event_of(o).involved.ns; }, true},
    {"involvedObject.name", [](const api::Object& o) { return event_of(o).involved.name; }, true},
    {"involvedObject.uid", [](const api::Object& o) { return event_of(o).involved_uid; }, true},
    {"involvedObject.apiVersion", [](const api::Object&) { return std::string(api::kApiVersion); }, true},
    {"reason", [](const api::Object& o) { return event_of(o).reason; }, true},
    {"type", [](const api::Object& o) { return std::string(event_of(o).type == api::EventType::Normal ? "Normal" : "Warning"); },
     true},
};

const Field* find_field(std::string_view name) {
  const auto* it = std::ranges::find(kFields, name, &Field::name);
  return it == std::end(kFields) ? nullptr : it;
}

}  // namespace

Result<LabelSelector::Requirement> LabelSelector::parse_one(std::string_view text) {
  const auto whole = text = trim(text);
  Requirement requirement;
  const auto finish = [&](std::string_view key, Operator op, std::vector<std::string> values) -> Result<Requirement> {
    key = trim(key);
    if (key.empty() || !is_label_text(key)) return fail(bad(whole, "expected a label key, e.g. app=web"));
    const auto wrong = std::ranges::find_if_not(values, [](const std::string& value) { return is_label_text(value); });
    if (wrong != values.end()) return fail(bad(whole, "label values hold letters, digits, '-', '_' and '.'"));
    return Requirement{std::string(key), op, std::move(values)};
  };
  if (text.starts_with('!')) return finish(text.substr(1), Operator::Absent, {});
  if (text.ends_with(')')) {
    const auto open = text.find('(');
    if (open == std::string_view::npos) return fail(bad(whole, "')' without '('"));
    auto head = trim(text.substr(0, open));
    std::vector<std::string> values;
    for (const auto value : split(text.substr(open + 1, text.size() - open - 2), ',')) values.emplace_back(trim(value));
    if (head.ends_with(" notin")) return finish(head.substr(0, head.size() - 6), Operator::NotIn, std::move(values));
    if (head.ends_with(" in")) return finish(head.substr(0, head.size() - 3), Operator::In, std::move(values));
    return fail(bad(whole, "expected \"key in (a,b)\" or \"key notin (a,b)\""));
  }
  const auto one = [](std::string_view value) { return std::vector<std::string>{std::string(trim(value))}; };
  if (const auto at = text.find("!="); at != std::string_view::npos) {
    return finish(text.substr(0, at), Operator::NotIn, one(text.substr(at + 2)));
  }
  if (const auto at = text.find('='); at != std::string_view::npos) {
    auto value = text.substr(at + 1);
    if (value.starts_with('=')) value.remove_prefix(1);
    return finish(text.substr(0, at), Operator::In, one(value));
  }
  if (const auto at = text.find_first_of("<>"); at != std::string_view::npos) {
    if (!number(trim(text.substr(at + 1)))) return fail(bad(whole, "expected a whole number after '<' or '>'"));
    return finish(text.substr(0, at), text[at] == '>' ? Operator::Greater : Operator::Less, one(text.substr(at + 1)));
  }
  return finish(text, Operator::Exists, {});
}

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  if (trim(text).empty()) return selector;
  for (const auto part : split_requirements(text)) {
    BGR_TRY(auto requirement, parse_one(part));
    selector.requirements_.push_back(std::move(requirement));
  }
  return selector;
}

bool LabelSelector::holds(const Requirement& requirement, const std::map<std::string, std::string>& labels) {
  const auto it = labels.find(requirement.key);
  const bool there = it != labels.end();
  switch (requirement.op) {
    case Operator::Exists:
      return there;
    case Operator::Absent:
      return !there;
    case Operator::In:
      return there && listed(requirement.values, it->second);
    case Operator::NotIn:
      return !there || !listed(requirement.values, it->second);
    case Operator::Greater:
    case Operator::Less: {
      const auto value = there ? number(it->second) : std::nullopt;
      if (!value) return false;
      const auto bound = *number(requirement.values.front());
      return requirement.op == Operator::Greater ? *value > bound : *value < bound;
    }
  }
  return false;
}

bool LabelSelector::matches(const std::map<std::string, std::string>& labels) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& requirement) { return holds(requirement, labels); });
}

Result<FieldSelector> FieldSelector::parse(std::string_view text, api::Kind kind) {
  FieldSelector selector;
  if (trim(text).empty()) return selector;
  for (const auto part : split(text, ',')) {
    const auto at = part.find('=');
    if (at == std::string_view::npos || at == 0) return fail(bad(part, "expected field=value or field!=value"));
    const bool negated = part[at - 1] == '!';
    auto value = part.substr(at + 1);
    if (value.starts_with('=')) value.remove_prefix(1);
    const auto name = trim(part.substr(0, negated ? at - 1 : at));
    const auto* field = find_field(name);
    if (field == nullptr || (field->events_only && kind != api::Kind::Event)) {
      return fail(invalid(fmt::format("field label not supported: {}", printable(name))));
    }
    selector.requirements_.push_back({std::string(name), !negated, std::string(trim(value))});
  }
  return selector;
}

bool FieldSelector::matches(const api::Object& object) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& requirement) {
    return (find_field(requirement.field)->read(object) == requirement.value) == requirement.equal;
  });
}

bool Selection::matches(const api::Object& object) const {
  return (ns.empty() || object.meta.ns == ns) && fields.matches(object) && labels.matches(object.meta.labels);
}

}  // namespace banger::server
