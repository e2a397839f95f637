// SPDX-License-Identifier: Apache-2.0
// HTTP requests and replies as plain values, so that everything but http_server.cpp is free of sockets.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.hpp"

namespace banger::server {

struct Request {
  std::string method = "GET";  // as on the request line
  std::string target = "/";    // path and query, still percent-encoded
  std::string accept;
  std::string content_type;
  std::string body;
};

struct Response {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// A response whose body comes bit by bit (watches, followed logs). Only one thread uses it at a time.
class Stream {
 public:
  struct Chunk {
    std::string bytes;  // empty: nothing to send right now
    bool end = false;   // the body ends after bytes
    bool more = false;  // ask again at once
  };

  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  [[nodiscard]] virtual std::string content_type() const = 0;
  // The next part of the body. Runs on a worker thread and does not wait for events. The server calls it after every change of
  // the store (if follows_store()), and at look_again() at the latest.
  virtual Chunk next() = 0;
  [[nodiscard]] virtual SteadyTime look_again() const = 0;
  [[nodiscard]] virtual bool follows_store() const { return false; }
};

using Reply = std::variant<Response, std::unique_ptr<Stream>>;

// A request target taken apart and percent-decoded.
class Target {
 public:
  // nullopt: not an absolute path, a broken percent escape, or a NUL.
  static std::optional<Target> parse(std::string_view text);

  [[nodiscard]] const std::vector<std::string>& segments() const { return segments_; }  // "/apis/x/" gives {"apis", "x"}
  // The first value of the parameter; nullopt when it is not there.
  [[nodiscard]] std::optional<std::string> get(std::string_view name) const;
  // A parameter that is there and neither "false" nor "0".
  [[nodiscard]] bool flag(std::string_view name) const;

 private:
  std::vector<std::string> segments_;
  std::vector<std::pair<std::string, std::string>> query_;
};

}  // namespace banger::server
