// SPDX-License-Identifier: Apache-2.0
// The little of QEMU's monitor protocol (QMP) that is needed: ask for the run state, read events. Every answer is bounded in size
// and time: a VMM is not trusted.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "actuators/host.hpp"
#include "base/result.hpp"

namespace banger::actuators::vmm {

struct QmpMessage {
  enum class Kind { Greeting, Return, Failure, Event, Other } kind = Kind::Other;
  std::string id;       // of a reply: the string that the command bore
  std::string version;  // of a greeting: "7.2.22"
  std::string status;   // of a reply to query-status: "running"
  std::string event;    // "SHUTDOWN"
  std::string reason;   // of an event: data.reason, or ""
  std::string error;    // of a Failure: its description
  bool operator==(const QmpMessage&) const = default;
};

// Nothing if the line is no JSON object.
std::optional<QmpMessage> parse_qmp(std::string_view line);

// Cuts what comes into lines. Refuses more than its limit in all: no monitor has that much to say to one question.
class QmpReader {
 public:
  static constexpr std::size_t kLimit = 64U << 10U;
  bool add(std::string_view bytes);  // false: the limit is reached
  std::optional<std::string> next_line();

 private:
  std::string buffer_;
  std::size_t total_ = 0;
};

MonitorState monitor_state(std::string_view run_state);

struct MonitorAnswer {
  MonitorState state = MonitorState::Unreachable;
  std::string version;
};

// Connects, introduces itself, asks query-status. Unreachable when that did not succeed within the time.
MonitorAnswer ask_monitor(const std::filesystem::path& socket, std::chrono::milliseconds limit = std::chrono::milliseconds(300));

// Tells a guest that was paused at a failed write to try it again (cont). False: it is in another state, and nothing was told.
Result<bool> resume_guest(const std::filesystem::path& socket, std::chrono::milliseconds limit = std::chrono::milliseconds(300));

// The reason of the last SHUTDOWN event in what an event monitor said (its beginning may be cut off); empty if there is none.
std::string last_shutdown_reason(std::string_view events);

}  // namespace banger::actuators::vmm
