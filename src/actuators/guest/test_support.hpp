// SPDX-License-Identifier: Apache-2.0
// What this folder's tests share: a directory that goes away, and other programs as independent witnesses.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/testing.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::guest {

using TempDir = banger::testing::ScratchDirectory;

struct ProgramOutput {
  int exit_code = -1;
  std::string text;  // standard output and error
};

// Runs the program found on PATH (and /usr/sbin) without a shell.
ProgramOutput run_program(const std::vector<std::string>& arguments);

// True, with the reason printed, when the program is not installed.
bool skip_without(const std::string& program);

// Moves this process into a network namespace of its own with lo up, once. True, with the reason printed, when that needs root
// and we are not.
bool skip_without_private_network();

// Listens on a free port of 127.0.0.1 and hands each connection, one after another, to serve on its own thread. Serving ends when
// the client goes, so that the destructor, which waits for it, comes after the client.
class TcpServer {
 public:
  explicit TcpServer(std::function<void(int connection)> serve);
  TcpServer(const TcpServer&) = delete;
  TcpServer& operator=(const TcpServer&) = delete;
  ~TcpServer();
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

// Serves one connection with a real dropbear in inetd mode, whose root user has this home directory (in a mount namespace of its
// own). Returns when it has ended.
struct Dropbear {
  std::filesystem::path home;
  std::filesystem::path host_key;
  std::string forced_command;  // empty: what the client asks for
  void serve(int connection) const;
};

}  // namespace banger::actuators::guest
