// SPDX-License-Identifier: Apache-2.0
// The groups whose VMM was verified and of which no process has ended since: what was read of them still holds.
//
// A pidfd stands for one process, whatever becomes of its number, and is silent while that lives; one epoll_wait asks all of
// them. A process that lives keeps its start time, and is what keeps its group populated. What a pidfd does not tell is that the
// VMM became another program or was moved to another group: QEMU runs without the right to execute anything, only root moves
// processes, and each running VM is read in full by a pass of its own every 30 s, which forgets what does not hold.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "actuators/host.hpp"
#include "base/file_state.hpp"
#include "base/shared.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {

class VerifiedGroups {
 public:
  struct Group {
    Shared<VmmView> view;
    FileState run_directory;  // where an exit record would appear
  };

  VerifiedGroups();
  VerifiedGroups(const VerifiedGroups&) = delete;
  VerifiedGroups& operator=(const VerifiedGroups&) = delete;

  // Each pidfd was opened before what is said of its process was read. Without all of them nothing is remembered.
  void remember(const std::string& uid, Group group, std::vector<UniqueFd> pidfds);
  void forget(const std::string& uid);
  void forget_all();
  void forget_unless(const std::string& uid, const VmmView& seen);

  void drop_ended();  // every group of which a process has ended
  [[nodiscard]] std::optional<Group> find(const std::string& uid) const;

 private:
  struct Held {
    Group group;
    std::vector<UniqueFd> pidfds;
    std::uint64_t id = 0;
  };
  void drop(const std::string& uid);  // needs the lock

  UniqueFd epoll_;
  mutable std::mutex mutex_;
  std::uint64_t next_id_ = 1;
  std::unordered_map<std::string, Held> groups_;
  std::unordered_map<std::uint64_t, std::string> uids_;  // by the id that epoll carries
};

}  // namespace banger::actuators::vmm
