// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/snapshot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <vector>

#include "base/text.hpp"

namespace banger::actuators::block {
namespace {

constexpr std::uint64_t kExceptionSize = 16;  // struct disk_exception in the kernel's dm-snap-persistent.c
constexpr std::uint64_t kExceptionsPerChunk = kChunkSize.value / kExceptionSize;

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

Bytes default_cow_size(Bytes disk) {
  const auto quarter = (disk.value / 4 + kChunkSize.value - 1) / kChunkSize.value * kChunkSize.value;
  return std::min(std::clamp(Bytes{quarter}, mib(64), gib(1)), full_cow_size(disk));
}

Bytes full_cow_size(Bytes disk) {
  const auto chunks = (disk.value + kChunkSize.value - 1) / kChunkSize.value;
  const auto metadata = (chunks + kExceptionsPerChunk - 1) / kExceptionsPerChunk + 1;
  return {(1 + metadata + chunks) * kChunkSize.value};
}

}  // namespace banger::actuators::block
