// SPDX-License-Identifier: Apache-2.0
// meta.k8s.io/v1 Tables: the server decides columns and renders cells, clients print them.
#pragma once

#include <boost/json/fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "api/object.hpp"
#include "base/clock.hpp"

namespace banger::server {

struct Column {
  std::string_view name;
  std::string_view type;    // "string" | "integer" | "date"
  std::string_view format;  // "name" for the first column, else ""
  int priority = 0;         // > 0: only with -o wide
  std::string_view description;
  boost::json::value (*cell)(const api::Object& object, WallTime now) = nullptr;
};

std::span<const Column> columns_of(api::Kind kind);

// The columnDefinitions of the kind.
boost::json::value column_definitions(api::Kind kind);

enum class RowObject { None, Metadata, Object };
// One element of rows: the cells, and the object as asked (includeObject).
boost::json::value table_row(const api::Object& object, RowObject include, WallTime now);

// {"kind":"PartialObjectMetadata", …}: the object without spec and status.
boost::json::value partial_metadata(const api::Object& object);

// "42s", "5m10s", "3h", "2d4h": how kubectl writes ages. Negative ages read "0s".
std::string human_duration(WallTime::duration age);

}  // namespace banger::server
