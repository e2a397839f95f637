// SPDX-License-Identifier: Apache-2.0
// Tells when a snapshot fills up: the kernel reports only that one is full, so each node is looked at once a second (one ioctl).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "actuators/names.hpp"

namespace banger::actuators::block {

// What is worth a hint when it changes.
struct Fill {
  std::int64_t percent = 0;
  bool overflow = false;
  bool invalid = false;
  bool operator==(const Fill&) const = default;
};
std::optional<Fill> fill_of(std::string_view status_params);

class SnapshotWatcher {
 public:
  // on_change is called from the watcher's thread with the uid of a VM of this layout, when its fill is another than a look
  // before. Where there is no device-mapper, or no node of ours, a look costs next to nothing.
  SnapshotWatcher(Layout layout, std::function<void(const std::string& uid)> on_change,
                  std::chrono::milliseconds period = std::chrono::seconds(1));
  ~SnapshotWatcher();
  SnapshotWatcher(const SnapshotWatcher&) = delete;
  SnapshotWatcher& operator=(const SnapshotWatcher&) = delete;

 private:
  void run(const std::stop_token& stop);
  void look();

  Layout layout_;
  std::function<void(const std::string&)> on_change_;
  std::chrono::milliseconds period_;
  std::map<std::string, Fill> seen_;  // by uid; of the thread alone
  std::mutex mutex_;
  std::condition_variable_any stopped_;
  std::jthread thread_;
};

}  // namespace banger::actuators::block
