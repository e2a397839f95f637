// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 exchange over a unix socket, with a deadline and a way to break it off. A connection a request.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::client {

struct Request {
  std::string method = "GET";
  std::string target;  // path and query, percent-encoded
  std::string body = {};
  std::string content_type = "application/json";  // sent with a body only
  std::string accept = "application/json";
};

struct Response {
  unsigned status = 0;
  std::string content_type;
  std::vector<std::string> warnings;  // Warning headers
  std::string body;
};

// Breaks off a running exchange from another thread or a signal handler.
class StopSignal {
 public:
  StopSignal();
  void set();  // async-signal-safe
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;  // eventfd; never read, so once set it stays set
};

struct Patience {
  std::optional<std::chrono::steady_clock::time_point> deadline;  // of the whole exchange; absent: none
  const StopSignal* stop = nullptr;
};

// Gets the body of a 2xx answer piece by piece; false ends the exchange.
using BodySink = std::function<bool(std::string_view)>;

enum class Ending {
  Complete,  // the whole answer came
  Stopped,   // the sink or the stop signal ended it
  TimedOut,
};

struct Exchange {
  Ending ending = Ending::Complete;
  Response response;  // its body stays empty where sink got it
};

// Errors: connecting failed or the peer broke off: sys_errno is set, the sentence says what to do. sink null: the body is in
// response.body (at most 256 MiB).
Result<Exchange> exchange(const std::string& socket_path, const Request& request, const BodySink& sink, const Patience& patience);

}  // namespace banger::client
