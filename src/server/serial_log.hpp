// SPDX-License-Identifier: Apache-2.0
// A VM's serial log as a stream: serial.log.1 and serial.log read as one text, and followed across rotations.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "server/message.hpp"

namespace banger::server {

struct LogQuery {
  std::string path;                         // serial.log; the part before the last rotation is path + ".1"
  std::optional<std::uint64_t> tail_lines;  // absent: everything
  bool follow = false;
  bool previous = false;  // only the part before the last rotation; NotFound when there was none
};

class LogStream final : public Stream {
 public:
  // Errors: as open(2); a log that is not there yet is empty (and may be followed).
  static Result<std::unique_ptr<LogStream>> open(const LogQuery& query, Clock& clock);

  [[nodiscard]] std::string content_type() const override { return "text/plain; charset=utf-8"; }
  Chunk next() override;
  [[nodiscard]] SteadyTime look_again() const override { return look_again_; }

 private:
  LogStream(LogQuery query, Clock& clock) : query_(std::move(query)), clock_(clock) {}
  Result<void> open_older();
  bool open_current();      // false: there is no serial.log (yet)
  std::string read_some();  // of fd_, from offset_
  bool switch_file();       // at the end of fd_: true when another file is to be read from its start
  Result<void> skip_to_tail();

  LogQuery query_;
  Clock& clock_;
  UniqueFd fd_;         // what is being read now
  bool older_ = false;  // fd_ is serial.log.1 as found at the start
  UniqueFd current_;    // serial.log as it was when the older part was opened: nothing written in between is lost
  std::uint64_t offset_ = 0;
  SteadyTime look_again_{};
};

}  // namespace banger::server
