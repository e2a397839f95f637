// SPDX-License-Identifier: Apache-2.0
// Kernel modules, disks by serial number and network cards by address, as they turn up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "guest_init/config.hpp"
#include "guest_init/console.hpp"

namespace banger::guest_init {

void load_modules();

// Hears of new devices (uevents). Made before the first look, so that none is missed between looking and waiting.
class Devices {
 public:
  explicit Devices(std::int64_t deadline);  // in milliseconds()
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

  // "/dev/vda"; empty when no such disk came before the deadline.
  std::string disk(const std::string& serial) const;
  // "eth0"; empty when no such card came before the deadline.
  std::string card(const std::string& mac) const;

 private:
  std::string wait_for(const std::function<std::string()>& look) const;

  int uevents_;
  std::int64_t deadline_;
};

// Mounts the ext4 file system on a directory, and grows it when its disk became larger. What keeps it from growing is only said.
Problem mount_disk(const std::string& device, const std::string& where);

Problem bring_up_loopback();
Problem bring_up(const std::string& card, const Nic& nic);
Problem add_default_route(std::uint32_t gateway);

}  // namespace banger::guest_init
