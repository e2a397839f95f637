// SPDX-License-Identifier: Apache-2.0
// Events of one object.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "api/object.hpp"

namespace banger::cli {

// The list of the events about it, in whatever namespace they are kept.
std::string events_target(const api::ObjectKey& about);

// Rows of an events Table (with includeObject=Object), oldest first.
void sort_by_time(boost::json::value& table);

}  // namespace banger::cli
