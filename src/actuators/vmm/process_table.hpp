// SPDX-License-Identifier: Apache-2.0
// Which processes name which VM's monitor socket: one look at /proc that all who ask at about the same time share.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "actuators/vmm/processes.hpp"
#include "base/result.hpp"

namespace banger::actuators::vmm {

// Looking at every process for each VM would cost the square of their number: with 1 000 VMs one look takes 10 ms. What is shared
// is only where to look: a process that is answered was read when it was asked for, and names the socket. One that came after the
// look is answered at the next; what keeps two VMMs from one disk is the disk's lock, never this.
class ProcessTable {
 public:
  explicit ProcessTable(std::filesystem::path proc = "/proc") : proc_(std::move(proc)) {}

  // The processes whose command line holds "/<short_id>/qmp.sock". Looks anew when the last look is older than ten times what it
  // took, so that at most a tenth of the time goes into looking. Thread-safe.
  Result<std::vector<Process>> naming(const std::string& short_id);

 private:
  using Clock = std::chrono::steady_clock;
  const std::filesystem::path proc_;
  std::mutex mutex_;
  std::unordered_multimap<std::string, std::int64_t> pids_;  // short id → pid
  Clock::time_point good_until_{};
};

// The ids in "/<id>/qmp.sock", each once.
std::vector<std::string> ids_in(std::string_view cmdline);

}  // namespace banger::actuators::vmm
