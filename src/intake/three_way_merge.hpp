// SPDX-License-Identifier: Apache-2.0
// The merge behind "apply": what a manifest says wins, what it stopped saying goes, what it never said stays.
#pragma once

#include <boost/json/fwd.hpp>

namespace banger::intake {

// Changes live to what next asks for, last being what was asked for before (null: nothing known). Maps are merged key by key;
// everything else, lists too, is replaced whole where next has it.
void three_way_merge(boost::json::value& live, const boost::json::value& last, const boost::json::value& next);

}  // namespace banger::intake
