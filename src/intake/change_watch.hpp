// SPDX-License-Identifier: Apache-2.0
// inotify on a tree of directories. What it says only means "look again"; being right never depends on it.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::intake {

// What was last heard of a file that somebody writes, by its path relative to the directory.
enum class WriterHint {
  Open,    // being written: not closed since
  Closed,  // closed after writing, or moved here whole
};
using WriterHints = std::map<std::string, WriterHint>;

enum class Noticed {
  Nothing,
  Writing,  // somebody is in the middle of something: no hurry
  Change,   // look now
};

// Not thread-safe.
class ChangeWatch {
 public:
  static Result<ChangeWatch> open();

  [[nodiscard]] int fd() const { return fd_.get(); }

  // Between begin() and end(), every directory that is there is named; those not named are forgotten.
  void begin() { named_.clear(); }
  void watch(int directory_fd, const std::string& relative);
  void end();

  // Takes what the kernel has queued. After an overflow nothing is known of writers.
  Noticed drain(WriterHints& hints);

 private:
  explicit ChangeWatch(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::map<int, std::string> directories_;  // by watch descriptor
  std::set<int> named_;
};

}  // namespace banger::intake
