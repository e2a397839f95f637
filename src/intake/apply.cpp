// SPDX-License-Identifier: Apache-2.0
#include "intake/apply.hpp"

#include <boost/json.hpp>
#include <utility>

#include "api/three_way.hpp"

namespace banger::intake {
namespace {

namespace json = boost::json;

std::string annotation(const api::Object& object, std::string_view name) {
  const auto it = object.meta.annotations.find(std::string(name));
  return it == object.meta.annotations.end() ? "" : it->second;
}

void mark(api::Object& object, const api::ManifestDocument& document, const Owner& owner) {
  object.meta.annotations[std::string(kSourceAnnotation)] = to_string(owner);
  object.meta.annotations[std::string(api::kLastApplied)] = document.canonical;
}

// The text as JSON, null when it is not: an annotation that somebody edited is as good as none.
json::value parse_or_null(std::string_view text) {
  boost::system::error_code error;
  auto value = json::parse(text, error);
  return error ? json::value{} : value;
}

const json::value& at_or_null(const json::value& value, std::string_view key) {
  static const json::value none;
  const auto* object = value.if_object();
  const auto* member = object != nullptr ? object->if_contains(key) : nullptr;
  return member != nullptr ? *member : none;
}

void merge_part(json::value& live, const json::value& last, const json::value& next, std::string_view key) {
  const auto& asked = at_or_null(next, key);
  const auto& before = at_or_null(last, key);
  if (asked.is_null() && before.is_null()) return;
  auto& part = live.as_object()[key];
  api::merge_patch(part, api::three_way_patch(before, asked.is_null() ? json::value(json::object{}) : asked, part));
}

// The live object with the manifest merged in, decoded again so that defaults come back where fields went.
api::Decoded<api::Object> merged(const api::ManifestDocument& document, const api::Object& live) {
  const auto next = parse_or_null(document.canonical);
  const auto last = parse_or_null(annotation(live, api::kLastApplied));
  auto whole = api::encode(live);
  auto& object = whole.as_object();
  object.erase("status");
  merge_part(object["metadata"], at_or_null(last, "metadata"), at_or_null(next, "metadata"), "labels");
  merge_part(object["metadata"], at_or_null(last, "metadata"), at_or_null(next, "metadata"), "annotations");
  merge_part(whole, last, next, "spec");
  return api::decode_object(whole);
}

}  // namespace

std::string to_string(const Owner& owner) { return owner.source + ":" + owner.file; }

std::optional<Owner> owner_of(const api::Object& object) {
  const std::string text = annotation(object, kSourceAnnotation);
  const auto colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  return Owner{.source = text.substr(0, colon), .file = text.substr(colon + 1)};
}

ApplyPlan plan_apply(const api::ManifestDocument& document, const std::optional<api::Object>& live, const Owner& owner) {
  ApplyPlan plan;
  if (!live) {
    plan.action = ApplyAction::Create;
    plan.object = document.object;
    mark(plan.object, document, owner);
    plan.refusals = api::validate(plan.object, nullptr);
  } else if (live->meta.deletion_time) {
    plan.action = ApplyAction::Wait;
    return plan;
  } else if (annotation(*live, api::kLastApplied) == document.canonical) {
    if (annotation(*live, kSourceAnnotation) == to_string(owner)) return plan;
    plan.action = ApplyAction::Update;
    plan.object = *live;
    mark(plan.object, document, owner);
  } else {
    auto decoded = merged(document, *live);
    plan.action = ApplyAction::Update;
    plan.object = *live;
    plan.object.body = std::move(decoded.value.body);
    plan.object.meta.labels = std::move(decoded.value.meta.labels);
    plan.object.meta.annotations = std::move(decoded.value.meta.annotations);
    mark(plan.object, document, owner);
    plan.refusals = std::move(decoded.refusals);
    if (plan.refusals.empty()) plan.refusals = api::validate(plan.object, &*live);
  }
  if (!plan.refusals.empty()) plan.action = ApplyAction::Refuse;
  return plan;
}

}  // namespace banger::intake
