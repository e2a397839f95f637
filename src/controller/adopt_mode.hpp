// SPDX-License-Identifier: Apache-2.0
// Whether the daemon may remove what it finds: not while it cannot know whether it knows all that is wanted.
#pragma once

#include <mutex>
#include <string>
#include <utility>

namespace banger::controller {

// Thread-safe. Entered when objects were put back from records, or labelled things stand beside an empty database; left once
// desired state was read in full, or a person said so. While it lasts nothing is removed that no object asks to be removed.
class AdoptMode {
 public:
  void enter(std::string why) {
    const std::lock_guard lock(mutex_);
    why_ = std::move(why);
  }
  // True if it was on.
  bool leave() {
    const std::lock_guard lock(mutex_);
    return !std::exchange(why_, {}).empty();
  }
  [[nodiscard]] bool active() const { return !why().empty(); }
  // A sentence; empty while it is off.
  [[nodiscard]] std::string why() const {
    const std::lock_guard lock(mutex_);
    return why_;
  }

 private:
  mutable std::mutex mutex_;
  std::string why_;
};

}  // namespace banger::controller
