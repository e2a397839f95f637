// SPDX-License-Identifier: Apache-2.0
// What bangerd finds of its own on the host, as the API tells it.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/verbs.hpp"

namespace banger::cli {

inline constexpr std::string_view kHostObjectsPath = "/apis/banger.dev/v1alpha1/hostobjects";

struct HostThing {
  std::string type;
  std::string name;
  std::string uid;
  std::string owner;  // "vm default/web"; empty: nobody
  std::string of;     // as a label or a record tells
  std::string label;  // where on the thing itself its owner stands
  std::string in_use;
  std::string fate;
  std::string reason;
  bool recorded = false;
  [[nodiscard]] bool is_orphan() const { return fate != "Kept" && fate != "LeftAlone"; }
};
std::vector<HostThing> things_of(const boost::json::value& list);

// "label (alias)", "record", "label (path) and record", "-"
std::string found_by(const HostThing& thing);
// "orphan: it runs" -> "it runs"
std::string after_colon(const std::string& reason);

void print_host_objects(const boost::json::value& list, OutputFormat format);  // json or yaml

}  // namespace banger::cli
