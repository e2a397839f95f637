// SPDX-License-Identifier: Apache-2.0
// Everything on a host that this program made, put together from what was read. Needs no stored object: what is found here is
// found when every record is lost.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/host_object.hpp"
#include "actuators/names.hpp"
#include "actuators/sidecar.hpp"

namespace banger::actuators {

struct DirectoryFacts {
  HostObjectType type = HostObjectType::VmDirectory;
  std::filesystem::path path;
  std::string uid;                   // of a run directory: empty, its name has the short id only
  std::optional<api::ObjectKey> of;  // by its record
  bool recorded = false;             // the record in it can be read
  bool holds_data = false;
};
struct InventoryFacts {
  std::string instance;
  Layout layout;  // canonical
  std::vector<LinkView> links;
  std::vector<NatView> nats;
  std::map<std::string, VmmView> vmms;  // by uid: of every cgroup and every process that runs a VM of ours
  std::vector<LoopView> loops;          // all of the host's
  std::map<std::string, std::string>
      owner_of_loop;                // by device: the uid whose base file it stands over, where its path does not say
  std::vector<SnapshotView> nodes;  // every device-mapper node that bears a name or uuid like ours
  std::vector<DirectoryFacts> directories;
  std::map<std::string, Sidecar> records;  // by uid: every vm.json that can be read
};
std::vector<HostObject> inventory_of(const InventoryFacts& facts);

// What <state> and <run> hold: a directory a VM, network, image and kernel. And every vm.json that can be read.
void add_directories(InventoryFacts& facts);

}  // namespace banger::actuators
