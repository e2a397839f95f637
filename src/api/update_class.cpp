// SPDX-License-Identifier: Apache-2.0
#include "api/update_class.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec.hpp"
#include "api/encode.hpp"
#include "api/rows.hpp"
#include "base/text.hpp"

namespace banger::api {
namespace {

constexpr std::size_t kShown = 80;  // characters

// "[{name: data, size: 512Mi}]": JSON without the quotes that a person does not need.
std::string flow_text(const boost::json::value& value) {
  if (value.is_object()) {
    std::string text;
    for (const auto& [key, child] : value.get_object()) {
      text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", std::string_view(key.data(), key.size()), flow_text(child));
    }
    return "{" + text + "}";
  }
  if (value.is_array()) {
    std::string text;
    for (const auto& child : value.get_array()) text += (text.empty() ? "" : ", ") + flow_text(child);
    return "[" + text + "]";
  }
  if (value.is_string() && !value.get_string().empty()) {
    const auto yaml = yaml_of(value);
    // Several lines are shown in quotes, on one.
    return yaml.starts_with(" |") ? boost::json::serialize(value) : yaml.substr(0, yaml.size() - 1);
  }
  return boost::json::serialize(value);
}

std::string shortened(std::string text) {
  std::size_t characters = 0;
  std::size_t last = 0;  // where the last character that would fit begins
  for (std::size_t at = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U) continue;
    if (++characters == kShown) last = at;
    if (characters > kShown) return text.substr(0, last) + "…";
  }
  return text;
}

std::string text_of(const schema::Field& field, const void* value) {
  if (value == nullptr) return "unset";
  return shortened(flow_text(schema::encode_value(field.member.type(), &field, value)));
}

void compare(std::span<const schema::Field> fields, const void* from, const void* to, const std::string& path,
             std::vector<FieldChange>& changes) {
  for (const auto& field : fields) {
    const auto* before = field.member.get(from);
    const auto* after = field.member.get(to);
    const auto here = fmt::format("{}.{}", path, field.name);
    const auto& type = field.member.type();
    if (before == nullptr && after == nullptr) continue;
    if (type.shape == schema::Shape::Struct && before != nullptr && after != nullptr) {
      compare(type.fields(), before, after, here, changes);
      continue;
    }
    const bool both = before != nullptr && after != nullptr;
    if (both && schema::encode_value(type, &field, before) == schema::encode_value(type, &field, after)) continue;
    changes.push_back({.field = here, .update_class = field.update, .from = text_of(field, before), .to = text_of(field, after)});
  }
}

}  // namespace

std::string_view to_string(UpdateClass update_class) {
  switch (update_class) {
    case UpdateClass::Live:
      return "Live";
    case UpdateClass::Restart:
      return "Restart";
    case UpdateClass::Recreate:
      return "Recreate";
    case UpdateClass::Immutable:
      return "Immutable";
  }
  return "Unknown";
}

std::vector<FieldChange> changed_fields(const VirtualMachineSpec& from, const VirtualMachineSpec& to) {
  std::vector<FieldChange> changes;
  if (from == to) return changes;
  compare(schema::fields_of<VirtualMachineSpec>(), &from, &to, "spec", changes);
  return changes;
}

}  // namespace banger::api
