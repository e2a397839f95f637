// SPDX-License-Identifier: Apache-2.0
// One thing on a host that this program made, or that bears a name it would give: whose it is and how that is known.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/meta.hpp"

namespace banger::actuators {

// In the order in which they are taken down.
enum class HostObjectType {
  Process,
  DmNode,
  Loop,
  Tap,
  Link,  // neither tap nor bridge, and labelled
  NatTable,
  Bridge,
  Cgroup,
  RunDirectory,
  VmDirectory,
  NetworkDirectory,
  KernelDirectory,
  ImageDirectory,
};
std::string_view name_of(HostObjectType type);  // for people: "tap", "nft table", "VM directory"

enum class Belonging {
  Ours,         // proven
  OtherDaemon,  // its label, or its processes, tell of another daemon
  Unproven,     // it names a uid, but nothing says which daemon made it
  Foreign,      // it bears a name of ours, or stands over a file of ours, and was made by somebody else
};

struct HostObject {
  HostObjectType type = HostObjectType::Process;
  std::string name;                  // "bgr…-0", "/dev/loop3", "1234 qemu-system-x86_64", a path
  std::string uid;                   // of its owner; empty where it tells none
  std::optional<api::ObjectKey> of;  // its owner by name, where a label or a record tells
  Belonging belonging = Belonging::Ours;
  std::string label;        // where on the object itself its owner stands ("alias", "path", …); empty: nowhere
  bool recorded = false;    // the record of its owner (vm.json, object.json) names it
  std::string in_use;       // by whom, as a sentence's end ("/dev/dm-0", "2 ports"); empty: by nobody
  bool holds_data = false;  // disks or a built image: gone for good when it is removed
  bool suspended = false;   // a node: who has it open cannot end before it is resumed
  bool operator==(const HostObject&) const = default;
};

}  // namespace banger::actuators
