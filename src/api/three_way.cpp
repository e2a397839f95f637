// SPDX-License-Identifier: Apache-2.0
#include "api/three_way.hpp"

#include <boost/json.hpp>

namespace banger::api {

namespace json = boost::json;

namespace {

const json::value& member(const json::value& value, std::string_view name) {
  static const json::value kNothing;
  if (!value.is_object()) return kNothing;
  const auto* found = value.as_object().if_contains(name);
  return found == nullptr ? kNothing : *found;
}

bool has(const json::value& value, std::string_view name) { return value.is_object() && value.as_object().contains(name); }

}  // namespace

json::value three_way_patch(const json::value& last, const json::value& next, const json::value& live) {
  json::object patch;
  if (last.is_object()) {
    for (const auto& [name, value] : last.as_object()) {
      if (!has(next, name) && has(live, name)) patch[name] = nullptr;
    }
  }
  for (const auto& [name, value] : next.as_object()) {
    const auto& there = member(live, name);
    if (value.is_object()) {
      auto inner = three_way_patch(member(last, name), value, there);
      if (!inner.as_object().empty() || !there.is_object()) patch[name] = std::move(inner);
    } else if (!has(live, name) || there != value) {
      patch[name] = value;
    }
  }
  return patch;
}

}  // namespace banger::api
