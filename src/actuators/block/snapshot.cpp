// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/snapshot.hpp"

#include <fmt/format.h>

#include <charconv>
#include <system_error>
#include <vector>

#include "base/text.hpp"

namespace banger::actuators::block {
namespace {

template <class Number>
bool read_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

bool read_pair(std::string_view text, char between, auto& first, auto& second) {
  const auto at = text.find(between);
  return at != std::string_view::npos && read_number(text.substr(0, at), first) && read_number(text.substr(at + 1), second);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> out;
  for (const auto word : split(text, ' ')) {
    if (!word.empty()) out.push_back(word);
  }
  return out;
}

}  // namespace

std::optional<SnapshotStatus> parse_snapshot_status(std::string_view params) {
  using State = SnapshotStatus::State;
  while (params.ends_with(' ')) params.remove_suffix(1);
  if (params == "Invalid") return SnapshotStatus{.state = State::Invalid};
  if (params == "Overflow") return SnapshotStatus{.state = State::Overflow};
  if (params == "Merge failed") return SnapshotStatus{.state = State::MergeFailed};
  if (params == "Unknown") return SnapshotStatus{.state = State::Unknown};
  const auto words = words_of(params);
  SnapshotStatus status;
  if (words.empty() || words.size() > 2 || !read_pair(words[0], '/', status.used, status.total)) return std::nullopt;
  if (words.size() == 2 && !read_number(words[1], status.metadata)) return std::nullopt;
  return status;
}

std::optional<SnapshotTable> parse_snapshot_table(std::string_view params) {
  const auto words = words_of(params);
  SnapshotTable table;
  if (words.size() < 4 || !read_pair(words[0], ':', table.origin.major, table.origin.minor) ||
      !read_pair(words[1], ':', table.cow.major, table.cow.minor) || !read_number(words[3], table.chunk)) {
    return std::nullopt;
  }
  table.store = words[2];
  return table;
}

std::string format_snapshot_table(const SnapshotTable& table) {
  return fmt::format("{}:{} {}:{} {} {}", table.origin.major, table.origin.minor, table.cow.major, table.cow.minor, table.store,
                     table.chunk);
}

}  // namespace banger::actuators::block
