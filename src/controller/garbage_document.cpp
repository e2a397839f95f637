// SPDX-License-Identifier: Apache-2.0
#include "controller/garbage_document.hpp"

#include <boost/json.hpp>

namespace banger::controller {
namespace json = boost::json;
namespace {

std::string_view name_of(actuators::Belonging belonging) {
  switch (belonging) {
    case actuators::Belonging::Ours:
      return "Ours";
    case actuators::Belonging::OtherDaemon:
      return "OtherDaemon";
    case actuators::Belonging::Unproven:
      return "Unproven";
    case actuators::Belonging::Foreign:
      return "Foreign";
  }
  return "";
}

json::object reference(const api::ObjectKey& key) {
  json::object out{{"kind", api::info(key.kind).name}, {"name", key.name}};
  if (!key.ns.empty()) out["namespace"] = key.ns;
  return out;
}

json::object item(const GarbageRow& row) {
  const auto& object = row.object;
  json::object out{{"type", actuators::name_of(object.type)},
                   {"name", object.name},
                   {"belonging", name_of(object.belonging)},
                   {"fate", name_of(row.fate)},
                   {"reason", row.reason},
                   {"recorded", object.recorded},
                   {"holdsData", object.holds_data}};
  if (!object.uid.empty()) out["uid"] = object.uid;
  if (!object.label.empty()) out["label"] = object.label;
  if (!object.in_use.empty()) out["inUse"] = object.in_use;
  if (row.owner) out["owner"] = reference(*row.owner);
  if (object.of) out["of"] = reference(*object.of);
  return out;
}

json::array texts(const std::vector<std::string>& lines) {
  json::array out;
  for (const auto& line : lines) out.emplace_back(line);
  return out;
}

}  // namespace

std::string document_of(const GarbageReport& report) {
  json::array items;
  for (const auto& row : report.rows) items.push_back(item(row));
  json::object out{{"kind", "HostObjectList"}, {"apiVersion", api::kApiVersion}, {"metadata", json::object{}}};
  if (!report.adopting.empty()) out["adoptMode"] = report.adopting;
  out["items"] = std::move(items);
  if (!report.done.empty()) out["done"] = texts(report.done);
  if (!report.failed.empty()) out["failed"] = texts(report.failed);
  if (report.unfinished) out["unfinished"] = true;
  return json::serialize(out);
}

}  // namespace banger::controller
