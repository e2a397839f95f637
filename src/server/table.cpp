// SPDX-License-Identifier: Apache-2.0
#include "server/table.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <chrono>

#include "api/codec.hpp"

namespace banger::server {
namespace json = boost::json;

json::value column_definitions(api::Kind kind) {
  json::array definitions;
  for (const auto& column : columns_of(kind)) {
    definitions.push_back({{"name", column.name},
                           {"type", column.type},
                           {"format", column.format},
                           {"description", column.description},
                           {"priority", column.priority}});
  }
  return definitions;
}

json::value partial_metadata(const api::Object& object) {
  auto encoded = api::encode(object);
  return json::object{{"kind", "PartialObjectMetadata"},
                      {"apiVersion", "meta.k8s.io/v1"},
                      {"metadata", std::move(encoded.as_object()["metadata"])}};
}

json::value table_row(const api::Object& object, RowObject include, WallTime now) {
  json::array cells;
  for (const auto& column : columns_of(api::kind_of(object))) cells.push_back(column.cell(object, now));
  json::object row{{"cells", std::move(cells)}};
  if (include == RowObject::Metadata) row["object"] = partial_metadata(object);
  if (include == RowObject::Object) row["object"] = api::encode(object);
  return row;
}

std::string human_duration(WallTime::duration age) {
  using std::chrono::duration_cast;
  const auto seconds = std::max<std::int64_t>(0, duration_cast<std::chrono::seconds>(age).count());
  const auto minutes = seconds / 60;
  const auto hours = minutes / 60;
  const auto days = hours / 24;
  const auto two = [](std::int64_t big, char big_unit, std::int64_t small, char small_unit) {
    return small == 0 ? fmt::format("{}{}", big, big_unit) : fmt::format("{}{}{}{}", big, big_unit, small, small_unit);
  };
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return fmt::format("{}m", minutes);
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return fmt::format("{}h", hours);
  if (days < 8) return two(days, 'd', hours % 24, 'h');
  if (days < 730) return fmt::format("{}d", days);
  if (days < 2920) return two(days / 365, 'y', days % 365, 'd');
  return fmt::format("{}y", days / 365);
}

}  // namespace banger::server
