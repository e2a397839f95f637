// SPDX-License-Identifier: Apache-2.0
// The Kubernetes-shaped HTTP API over a unix socket. Who may connect: root, the daemon's own user, and members of one group.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"
#include "store/objects.hpp"

namespace banger::server {

struct ServerOptions {
  std::string socket_path = "/run/banger/bangerd.sock";  // its directory is made (0755) if it is not there
  unsigned socket_mode = 0660;
  std::optional<gid_t> group;  // owns the socket file; its members are let in
  std::size_t threads = 2;     // of input and output
  std::size_t workers = 4;     // that may wait for the store
  std::string version = "0.0.0";
  std::chrono::milliseconds idle_timeout{120'000};
  std::chrono::milliseconds write_timeout{30'000};  // a client that takes nothing for this long is cut off
  std::chrono::milliseconds bookmark_interval{60'000};
  std::size_t body_limit = 3U << 20U;
  std::size_t header_limit = 64U << 10U;
  std::size_t max_connections = 1024;
  std::size_t max_streams = 256;  // watches and followed logs
};

// What a POST to hostobjects asks for.
struct Collection {
  bool everything = false;      // living VMs of nobody and their data too
  bool end_adopt_mode = false;  // and nothing else
};

// What the server cannot know by itself. May be called from several threads at once; empty ones are left out.
struct Hooks {
  std::function<std::string()> metrics_text;
  std::function<bool()> ready;
  std::function<std::string()> notice;  // one line that /readyz says beside "ok"; empty: nothing
  std::function<Result<std::string>(const api::Object& vm)> serial_log_path;
  // A HostObjectList as JSON. Conflict: not now, because of what the message says.
  std::function<Result<std::string>()> host_objects;
  std::function<Result<std::string>(const Collection&)> collect;
};

class Server {
 public:
  // objects and clock outlive the server.
  Server(ServerOptions options, store::Objects& objects, Hooks hooks);
  Server(ServerOptions options, store::Objects& objects, Hooks hooks, Clock& clock);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // stops

  // Once. A socket file that nobody answers on is replaced. Errors: Busy (another daemon answers on it), Denied, Invalid (the
  // path is too long, or something that is no socket is there).
  Result<void> start();
  // Ends every connection, streams included, joins the threads and removes the socket file. May be called twice.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace banger::server
