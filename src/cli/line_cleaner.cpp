// SPDX-License-Identifier: Apache-2.0
#include "cli/line_cleaner.hpp"

#include "base/text.hpp"

namespace banger::cli {
namespace {

constexpr std::size_t kLongestLine = 64U << 10U;

std::string clean_line(std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  std::string out;
  bool first = true;
  for (const auto part : split(line, '\t')) {
    if (!first) out += '\t';
    first = false;
    out += printable(part);
  }
  return out + '\n';
}

}  // namespace

std::string LineCleaner::clean(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    pending_ += bytes.substr(0, end);
    if (end == std::string_view::npos) {
      if (pending_.size() > kLongestLine) out += finish();
      return out;
    }
    bytes.remove_prefix(end + 1);
    out += clean_line(pending_);
    pending_.clear();
  }
  return out;
}

std::string LineCleaner::finish() {
  if (pending_.empty()) return {};
  auto out = clean_line(pending_);
  pending_.clear();
  return out;
}

}  // namespace banger::cli
