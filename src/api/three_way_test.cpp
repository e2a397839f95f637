// SPDX-License-Identifier: Apache-2.0
#include "api/three_way.hpp"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"

namespace banger::api {
namespace {

namespace json = boost::json;

std::string patch(std::string_view last, std::string_view next, std::string_view live) {
  return json::serialize(three_way_patch(json::parse(last), json::parse(next), json::parse(live)));
}

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
    merge_patch(live, three_way_patch(boost::json::parse(it.last), boost::json::parse(it.next), live));
    CHECK(live == boost::json::parse(it.expected));
  }
}

TEST_CASE("a three-way patch sets what differs, removes what was dropped, and leaves the rest") {
  CHECK(patch("null", R"({"a":1})", R"({"a":1,"b":2})") == "{}");
  CHECK(patch("null", R"({"a":2})", R"({"a":1,"b":2})") == R"({"a":2})");
  CHECK(patch(R"({"a":1,"b":2})", R"({"a":1})", R"({"a":1,"b":3,"c":4})") == R"({"b":null})");
  CHECK(patch(R"({"b":2})", R"({})", R"({"a":1})") == "{}");
  CHECK(patch(R"({"m":{"x":1,"y":2}})", R"({"m":{"x":5}})", R"({"m":{"x":1,"y":2,"z":3}})") == R"({"m":{"y":null,"x":5}})");
  CHECK(patch("null", R"({"l":[1,2]})", R"({"l":[1]})") == R"({"l":[1,2]})");
  CHECK(patch("null", R"({"m":{}})", R"({"m":7})") == R"({"m":{}})");
}

TEST_CASE("merging a three-way patch gives what the manifest says") {
  auto live = json::parse(R"({"spec":{"a":1,"b":{"c":[1],"d":2},"theirs":true}})");
  const auto last = json::parse(R"({"spec":{"a":1,"b":{"c":[1],"d":2}}})");
  const auto next = json::parse(R"({"spec":{"b":{"c":[2,3]},"e":"x"}})");
  merge_patch(live, three_way_patch(last, next, live));
  CHECK(live == json::parse(R"({"spec":{"b":{"c":[2,3]},"theirs":true,"e":"x"}})"));
}

}  // namespace
}  // namespace banger::api
