// SPDX-License-Identifier: Apache-2.0
#include "intake/three_way_merge.hpp"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

namespace banger::intake {
namespace {

struct Case {
  const char* what;
  const char* live;
  const char* last;
  const char* next;
  const char* expected;
};

TEST_CASE("what the manifest says wins, what it stopped saying goes, what it never said stays") {
  const std::vector<Case> cases{
      {"nothing known of before: set, never remove", R"({"a":1,"b":2})", "null", R"({"a":9})", R"({"a":9,"b":2})"},
      {"the same as before still wins over an edit", R"({"a":5})", R"({"a":1})", R"({"a":1})", R"({"a":1})"},
      {"a field that left the manifest leaves", R"({"a":1,"b":2})", R"({"a":1,"b":2})", R"({"a":1})", R"({"a":1})"},
      {"also when it was edited since", R"({"a":1,"b":7})", R"({"a":1,"b":2})", R"({"a":1})", R"({"a":1})"},
      {"a field that was never in it stays", R"({"a":1,"z":3})", R"({"a":1})", R"({"a":2})", R"({"a":2,"z":3})"},
      {"maps are merged inside", R"({"m":{"a":1,"b":2,"z":3}})", R"({"m":{"a":1,"b":2}})", R"({"m":{"a":4}})",
       R"({"m":{"a":4,"z":3}})"},
      {"a map that left goes whole", R"({"m":{"a":1,"z":3}})", R"({"m":{"a":1}})", "{}", "{}"},
      {"lists are replaced whole", R"({"l":[1,2,3]})", R"({"l":[1,2]})", R"({"l":[1]})", R"({"l":[1]})"},
      {"a list that became a map", R"({"x":[1]})", R"({"x":[1]})", R"({"x":{"a":1}})", R"({"x":{"a":1}})"},
      {"a map that became a scalar", R"({"x":{"a":1}})", R"({"x":{"a":1}})", R"({"x":3})", R"({"x":3})"},
      {"gone from the live object already", "{}", R"({"a":1})", "{}", "{}"},
  };
  for (const auto& it : cases) {
    CAPTURE(it.what);
    auto live = boost::json::parse(it.live);
    three_way_merge(live, boost::json::parse(it.last), boost::json::parse(it.next));
    CHECK(live == boost::json::parse(it.expected));
  }
}

}  // namespace
}  // namespace banger::intake
