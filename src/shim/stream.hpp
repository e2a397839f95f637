// SPDX-License-Identifier: Apache-2.0
// One stream of the VMM: what comes is appended to a log file of bounded size, and its last bytes are remembered.
#pragma once

#include <array>
#include <climits>
#include <cstddef>
#include <cstdint>

namespace banger::shim {

// The last bytes of a stream.
class Tail {
 public:
  static constexpr std::size_t kSize = 8192;
  void add(const char* bytes, std::size_t count);
  [[nodiscard]] std::size_t size() const { return total_ < kSize ? static_cast<std::size_t>(total_) : kSize; }
  [[nodiscard]] char at(std::size_t index) const {  // 0 is the oldest that is kept
    return ring_[static_cast<std::size_t>((total_ - size() + index) % kSize)];
  }

 private:
  std::array<char, kSize> ring_{};
  std::uint64_t total_ = 0;
};

// A log of at most two files of max bytes each: path, and path.1 with what came before. A write that fails (full disk) drops
// what it was given: the guest must not stop for it.
class RotatingLog {
 public:
  bool open(const char* path, std::uint64_t max_bytes);  // appends to what is there; false: errno says why
  void write(const char* bytes, std::size_t count);

 private:
  bool open_file(int flags);
  void rotate();

  std::array<char, PATH_MAX> path_{};
  std::array<char, PATH_MAX> old_path_{};
  std::uint64_t max_ = 0;
  std::uint64_t size_ = 0;
  int fd_ = -1;
};

struct Stream {
  int fd = -1;                 // our end, non-blocking; -1 once it has ended
  RotatingLog* log = nullptr;  // null: only the tail is kept
  Tail tail;
};

// Moves what is there, at most limit bytes; closes at the end of the stream.
void copy(Stream& stream, std::size_t limit);

}  // namespace banger::shim
