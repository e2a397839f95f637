// SPDX-License-Identifier: Apache-2.0
// How much room the file system of the state directory has, and a thread that tells when that changes: one statvfs a second,
// whatever the number of VMs.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <thread>

#include "actuators/host.hpp"
#include "base/units.hpp"

namespace banger::actuators {

SpaceLevel space_level(Bytes free, Bytes size);

// Of the file system that the path is in; a path that cannot be asked is called Plenty.
SpaceLevel look_at_space(const std::filesystem::path& path);

class SpaceWatcher {
 public:
  // on_change is called from the watcher's thread.
  SpaceWatcher(const std::filesystem::path& path, std::function<void(SpaceLevel)> on_change,
               std::chrono::milliseconds period = std::chrono::seconds(1));

 private:
  std::jthread thread_;
};

}  // namespace banger::actuators
