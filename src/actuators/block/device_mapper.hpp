// SPDX-License-Identifier: Apache-2.0
// Device-mapper through libdevmapper, one function for one ioctl. Nothing waits for udev: the node below /dev/mapper is made and
// removed here, and udev's rules are told to leave these devices alone. Errors that the library would print are part of ours.
// Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace banger::actuators::block::dm {

// Whether the kernel has a device-mapper at this moment. Loads nothing; where this is false there are no nodes.
bool is_loaded();
// The same for who will ask it: Unavailable where it is there and does not answer (no /dev/mapper/control, or of another
// version).
Result<bool> answers();

// Whether snapshots that survive a full COW (target snapshot 1.15, store type PO) can be made; loads the modules where the kernel
// can find them. Unavailable says in one clause what is missing.
Result<void> check_snapshot_target();

struct Target {
  std::uint64_t start = 0;  // in sectors of 512 bytes, as all of these
  std::uint64_t length = 0;
  std::string type;
  std::string params;
  bool operator==(const Target&) const = default;
};

struct Node {
  std::string name;
  std::string uuid;
  dev_t number = 0;
  bool live_table = false;
  bool inactive_table = false;  // loaded, and waiting for a resume
  bool suspended = false;
  std::int64_t open_count = 0;
  std::vector<Target> status;  // of the live table, as STATUS tells
};

// The names of all nodes.
Result<std::vector<std::string>> list();

// Nothing when there is no such node. Both are cheap: one ioctl.
Result<std::optional<Node>> find(const std::string& name);
Result<std::optional<Node>> find_by_uuid(const std::string& uuid);

// The live table. Nothing when there is no such node.
Result<std::vector<Target>> table(const std::string& name);

// Without a table, and without a node below /dev/mapper yet. Busy when the name or the uuid is taken, Unavailable when there is
// no free minor number or memory.
Result<dev_t> create(const std::string& name, const std::string& uuid);
Result<void> load(const std::string& name, const Target& target);  // as the inactive table; replaces one that is there
Result<void> clear(const std::string& name);                       // the inactive table
Result<void> suspend(const std::string& name);                     // waits for what is under way, syncs no file system
Result<void> resume(const std::string& name);                      // the inactive table, if any, becomes the live one
Result<void> remove(const std::string& name);                      // Busy while it is open; never deferred

// /dev/mapper/<name>, for this device; a wrong one is replaced. Changes nothing (false) when it is right.
Result<bool> make_file(const std::string& name, dev_t number);
Result<bool> remove_file(const std::string& name);

}  // namespace banger::actuators::block::dm
