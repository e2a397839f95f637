// SPDX-License-Identifier: Apache-2.0
// What a BuildImage job made, as the text of its result: {"path","digest","format","size"}.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators {

struct BuiltImage {
  std::string path;    // of the base ext4 file
  std::string digest;  // of the source: "sha256:<64 hex>"
  std::string format;  // "tar" | "raw"
  Bytes size;          // of its file system; the file itself may be longer
  bool operator==(const BuiltImage&) const = default;
};

std::string encode_built_image(const BuiltImage& image);  // JSON text
Result<BuiltImage> decode_built_image(std::string_view text);

}  // namespace banger::actuators
