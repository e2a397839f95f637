// SPDX-License-Identifier: Apache-2.0
// bangerctl events: what happened, oldest first; and what happens.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <utility>

#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/event_list.hpp"
#include "cli/server_table.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace json = boost::json;

std::string events_target(const api::ObjectKey& about) {
  const auto selector = fmt::format("involvedObject.kind={},involvedObject.name={}{}", api::info(about.kind).name, about.name,
                                    about.ns.empty() ? "" : ",involvedObject.namespace=" + about.ns);
  return fmt::format("{}?fieldSelector={}", client::collection_path(api::Kind::Event, ""), client::percent_encode(selector));
}

void sort_by_time(json::value& table) {
  auto* object = table.if_object();
  auto* rows = object == nullptr ? nullptr : object->if_contains("rows");
  if (rows == nullptr || !rows->is_array()) return;
  const auto when = [](const json::value& row) {
    auto last = text_at(row, "object.lastTimestamp");
    return last.empty() ? text_at(row, "object.metadata.creationTimestamp") : last;
  };
  auto& array = rows->as_array();
  std::vector<json::value> sorted(array.begin(), array.end());
  std::ranges::stable_sort(sorted, {}, when);  // RFC 3339 in UTC sorts as text
  array = json::array(sorted.begin(), sorted.end());
}

namespace {

// Of a table that was listed anew: the rows that changed after the revision.
void keep_newer(json::value& table, const std::string& revision) {
  const auto number = [](const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); };
  auto* object = table.if_object();
  auto* rows = object == nullptr ? nullptr : object->if_contains("rows");
  if (rows == nullptr || !rows->is_array()) return;
  json::array newer;
  for (auto& row : rows->as_array()) {
    if (number(text_at(row, "object.metadata.resourceVersion")) > number(revision)) newer.push_back(std::move(row));
  }
  *rows = std::move(newer);
}

}  // namespace

Outcome<> events(const EventsOptions& options, const Session& session) {
  auto target = client::collection_path(api::Kind::Event, options.all_namespaces ? "" : session.ns) + "?";
  if (!options.about.empty()) {
    const auto named = parse_objects({options.about}, "events --for");
    if (!named) return give_up(named.error());
    target = events_target(key_of(named->front(), session)) + "&";
  }
  auto listed = session.client.get_json(target + "includeObject=Object", client::kTableType);
  if (!listed) return give_up(failure_of(listed.error()));
  sort_by_time(*listed);
  ServerTable table({.wide = false, .with_namespace = options.all_namespaces, .name_prefix = ""});
  table.print(*listed);
  const auto* rows = find_at(*listed, "rows");
  if (!options.watch && rows != nullptr && rows->is_array() && rows->as_array().empty()) print_error("no events found");
  auto revision = text_at(*listed, "metadata.resourceVersion");
  while (options.watch) {
    flush_output();
    const auto ended = session.client.watch(fmt::format("{}watch=true&resourceVersion={}", target, revision), client::kTableType,
                                            [&](std::string_view type, const json::value& row) {
                                              revision = text_at(row, "metadata.resourceVersion");
                                              if (type == "ADDED" || type == "MODIFIED") table.print_event(type, row);
                                              flush_output();
                                              return true;
                                            },
                                            {});
    if (ended) continue;
    if (ended.error().code != ErrorCode::Gone) return give_up(failure_of(ended.error()));
    // Compacted, or fallen too far behind: what happened meanwhile is in a new list.
    auto again = session.client.get_json(target + "includeObject=Object", client::kTableType);
    if (!again) return give_up(failure_of(again.error()));
    const auto seen = std::exchange(revision, text_at(*again, "metadata.resourceVersion"));
    keep_newer(*again, seen);
    sort_by_time(*again);
    table.print(*again);
  }
  return {};
}

}  // namespace banger::cli
