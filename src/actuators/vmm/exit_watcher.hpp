// SPDX-License-Identifier: Apache-2.0
// Tells when a process has ended: one thread, one epoll, a pidfd for each process watched. Reaps it if it is our child.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {

class ExitWatcher {
 public:
  // on_end is called from the watcher's thread, after the process is gone and reaped.
  explicit ExitWatcher(std::function<void(const std::string& owner)> on_end);
  ~ExitWatcher();
  ExitWatcher(const ExitWatcher&) = delete;
  ExitWatcher& operator=(const ExitWatcher&) = delete;

  // Watches the process that pidfd stands for unless it is watched already; pidfd stays the caller's. One that has ended already
  // makes on_end be called soon.
  void watch(const std::string& owner, std::int64_t pid, const UniqueFd& pidfd);
  void watch_child(const std::string& owner, std::int64_t pid, UniqueFd pidfd);  // just started by us

 private:
  struct Watched {
    std::string owner;
    std::int64_t pid = 0;
    UniqueFd pidfd;
  };
  void add(const std::string& owner, std::int64_t pid, UniqueFd pidfd);
  void run();
  void ended(std::uint64_t id);

  std::function<void(const std::string&)> on_end_;
  UniqueFd epoll_;
  UniqueFd wake_;  // readable: stop
  std::mutex mutex_;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, Watched> watched_;              // by the id that epoll carries
  std::set<std::pair<std::int64_t, std::string>> known_;  // pid and owner of what is watched
  std::thread thread_;
};

}  // namespace banger::actuators::vmm
