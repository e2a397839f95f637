// SPDX-License-Identifier: Apache-2.0
// A file descriptor on /dev/net/tun that is attached to one tap.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {

class TapDevice {
 public:
  // A new tap (no packet information, virtio-net header, one queue) that vanishes with this object unless keep() was called.
  // Errors: Busy when a link of that name exists; Unavailable when the host has no /dev/net/tun.
  static Result<TapDevice> create(const std::string& name);

  // Attaches to the tap of that name, or makes one as create() does when there is none. Busy: another process has it open.
  static Result<TapDevice> attach(const std::string& name);

  Result<void> keep();     // persistent: outlives this object
  Result<void> abandon();  // vanishes with this object, whatever it was before

 private:
  explicit TapDevice(UniqueFd fd) : fd_(std::move(fd)) {}
  static Result<TapDevice> open(const std::string& name, short flags);
  UniqueFd fd_;
};

}  // namespace banger::actuators::net
