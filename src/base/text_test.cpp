// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace banger;

TEST_CASE("the nearest candidate is offered only when it is near") {
  constexpr std::array<std::string_view, 3> kFields{"memory", "cpus", "kernel"};
  CHECK(nearest("memroy", kFields) == "memory");
  CHECK(nearest("cpu", kFields) == "cpus");
  CHECK(nearest("flavour", kFields).empty());
}

TEST_CASE("text of others cannot move a terminal's cursor") {
  CHECK(printable("ok\x1b[2J\n") == "ok\\x1b[2J\\x0a");
  CHECK(printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
  CHECK(printable("\xff") == "\\xff");
  CHECK(printable("\xc2\x9b"
                  "2J") == "\\xc2\\x9b2J");
}

TEST_CASE("base32 takes the top bits first") {
  CHECK(base32(0, 10) == "aaaaaaaaaa");
  CHECK(base32(~std::uint64_t{0}, 10) == "7777777777");
  CHECK(base32(std::uint64_t{1} << 59U, 2) == "ba");
}
