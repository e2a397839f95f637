// SPDX-License-Identifier: Apache-2.0
// Text from a guest, made safe for a terminal line by line as it comes in pieces.
#pragma once

#include <string>
#include <string_view>

namespace banger::cli {

// Carriage returns before a newline go, tabs stay, everything else that is not printable becomes \xNN. A line of more than
// 64 KiB is broken.
class LineCleaner {
 public:
  std::string clean(std::string_view bytes);  // the lines that are complete now
  std::string finish();                       // what is left, with a newline

 private:
  std::string pending_;
};

}  // namespace banger::cli
