// SPDX-License-Identifier: Apache-2.0
#include "server/message.hpp"

#include <doctest/doctest.h>

using namespace banger::server;

TEST_CASE("a target is taken apart at slashes before its escapes are decoded") {
  const auto target = Target::parse("/apis/a%2Fb/c/?x=1&y=a+b%26c&flag&off=false");
  REQUIRE(target);
  CHECK(target->segments() == std::vector<std::string>{"apis", "a/b", "c"});
  CHECK(target->get("x") == "1");
  CHECK(target->get("y") == "a b&c");
  CHECK(target->get("z") == std::nullopt);
  CHECK(target->flag("flag"));
  CHECK_FALSE(target->flag("off"));
  CHECK_FALSE(target->flag("z"));
}

TEST_CASE("the root has no segments, and a plus in a path stays one") {
  CHECK(Target::parse("/")->segments().empty());
  CHECK(Target::parse("/a+b")->segments() == std::vector<std::string>{"a+b"});
}

TEST_CASE("targets that are no path, or whose escapes are broken, are refused") {
  for (const auto* text : {"", "apis", "*", "http://x/y", "/a%", "/a%2", "/a%zz", "/a%00b", "/a?x=%0", "/a?x=%00"}) {
    CAPTURE(text);
    CHECK_FALSE(Target::parse(text));
  }
}
