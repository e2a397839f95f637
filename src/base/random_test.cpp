// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <doctest/doctest.h>

using namespace banger;

TEST_CASE("uids are version 4 UUIDs and a seed repeats them") {
  SeededRandom a(7);
  SeededRandom b(7);
  const auto uid = new_uid(a);
  CHECK(is_uid(uid));
  CHECK(uid[14] == '4');
  CHECK(uid == new_uid(b));
  CHECK(uid != new_uid(b));
}

TEST_CASE("nothing but a lower-case UUID passes for a uid") {
  CHECK_FALSE(is_uid("../../../../etc/passwd"));
  CHECK_FALSE(is_uid("0F0F0F0F-0000-4000-8000-000000000000"));
  CHECK_FALSE(is_uid("0f0f0f0f-0000-4000-8000-00000000000"));
  CHECK(is_uid("0f0f0f0f-0000-4000-8000-000000000000"));
}
