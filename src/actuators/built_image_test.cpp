// SPDX-License-Identifier: Apache-2.0
#include "actuators/built_image.hpp"

#include <doctest/doctest.h>

namespace banger::actuators {

TEST_CASE("the result of an image build reads back as it was written") {
  const BuiltImage image{
      .path = "/var/lib/banger/images/a \"b\"/base.ext4", .digest = "sha256:00", .format = "tar", .size = mib(64)};
  const auto read = decode_built_image(encode_built_image(image));
  REQUIRE(read.has_value());
  CHECK(*read == image);
}

TEST_CASE("a result that is not an image build's is refused") {
  for (const char* text : {"", "[]", "{}", R"({"path":"/x","digest":"sha256:00","format":"tar"})", R"({"path":1})"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_built_image(text).has_value());
  }
}

}  // namespace banger::actuators
