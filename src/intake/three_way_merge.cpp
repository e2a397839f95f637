// SPDX-License-Identifier: Apache-2.0
#include "intake/three_way_merge.hpp"

#include <boost/json.hpp>

namespace banger::intake {

namespace json = boost::json;

void three_way_merge(json::value& live, const json::value& last, const json::value& next) {
  if (!next.is_object()) {
    live = next;
    return;
  }
  if (!live.is_object()) live = json::object{};
  auto& target = live.as_object();
  const json::value none;
  const auto* asked_before = last.if_object();
  for (const auto& member : next.as_object()) {
    const json::value* before = asked_before != nullptr ? asked_before->if_contains(member.key()) : nullptr;
    three_way_merge(target[member.key()], before != nullptr ? *before : none, member.value());
  }
  if (asked_before == nullptr) return;
  for (const auto& member : *asked_before) {
    if (!next.as_object().contains(member.key())) target.erase(member.key());
  }
}

}  // namespace banger::intake
