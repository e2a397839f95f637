// SPDX-License-Identifier: Apache-2.0
#include "cli/host_objects.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/object.hpp"
#include "cli/documents.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

std::string shown_reference(const json::value& item, const std::string& field) {
  const auto* kind = api::find_kind(text_at(item, field + ".kind"));
  const auto name = text_at(item, field + ".name");
  if (kind == nullptr || name.empty()) return {};
  const auto ns = text_at(item, field + ".namespace");
  return fmt::format("{} {}{}{}", kind->singular, ns, ns.empty() ? "" : "/", name);
}

}  // namespace

std::vector<HostThing> things_of(const json::value& list) {
  std::vector<HostThing> out;
  const auto* items = find_at(list, "items");
  if (items == nullptr || !items->is_array()) return out;
  for (const auto& item : items->as_array()) {
    out.push_back({.type = text_at(item, "type"),
                   .name = text_at(item, "name"),
                   .uid = text_at(item, "uid"),
                   .owner = shown_reference(item, "owner"),
                   .of = shown_reference(item, "of"),
                   .label = text_at(item, "label"),
                   .in_use = text_at(item, "inUse"),
                   .fate = text_at(item, "fate"),
                   .reason = text_at(item, "reason"),
                   .recorded = text_at(item, "recorded") == "true"});
  }
  return out;
}

std::string found_by(const HostThing& thing) {
  if (thing.label.empty()) return thing.recorded ? "record" : "-";
  return fmt::format("label ({}){}", thing.label, thing.recorded ? " and record" : "");
}

std::string after_colon(const std::string& reason) {
  const auto colon = reason.find(": ");
  return colon == std::string::npos ? reason : reason.substr(colon + 2);
}

void print_host_objects(const json::value& list, OutputFormat format) {
  if (format == OutputFormat::Json) return print_line(pretty_json(list));
  auto text = clean_yaml(list);
  if (text.ends_with('\n')) text.pop_back();
  print_line(text);
}

}  // namespace banger::cli
