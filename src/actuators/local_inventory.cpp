// SPDX-License-Identifier: Apache-2.0
#include "actuators/local_inventory.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "actuators/block/device_mapper.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/block/root_disk_view.hpp"
#include "actuators/vmm/processes.hpp"
#include "base/random.hpp"

namespace banger::actuators {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kTapsGo{5};

// As the kernel shows paths: without symbolic links.
Layout canonical(const Layout& layout) {
  std::error_code error;
  Layout out = layout;
  if (auto path = fs::weakly_canonical(layout.state_dir, error); !error) out.state_dir = std::move(path);
  return out;
}

// The uid that a VMM was told, where its monitor socket lies below our run directory.
std::set<std::string> uids_of_processes(const Layout& layout) {
  std::set<std::string> out;
  const auto found = vmm::find_processes((layout.run_dir / "vm").native() + "/");
  if (!found) return out;
  for (const auto& process : *found) {
    const auto option = std::ranges::find(process.arguments, "-uuid");
    if (option == process.arguments.end() || option + 1 == process.arguments.end() || !is_uid(*(option + 1))) continue;
    if (vmm::names_path(process.arguments, monitor_socket_path(layout, *(option + 1)).native())) out.insert(*(option + 1));
  }
  return out;
}

// Base files by what they are, whatever name a loop was made by: an image's, or, when that is gone, a VM's that holds it as a
// hard link.
std::map<block::FileId, std::string> base_files(const Layout& layout) {
  std::map<block::FileId, std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(layout.state_dir / "images", error), end; !error && it != end; it.increment(error)) {
    const auto uid = it->path().filename().native();
    if (!is_uid(uid)) continue;
    std::error_code inner;
    for (fs::directory_iterator file(it->path(), inner); !inner && file != end; file.increment(inner)) {
      if (const auto id = block::file_id(file->path())) out.emplace(*id, uid);
    }
  }
  for (fs::directory_iterator it(layout.state_dir / "vms", error), end; !error && it != end; it.increment(error)) {
    const auto uid = it->path().filename().native();
    if (!is_uid(uid)) continue;
    if (const auto id = block::file_id(root_base_path(layout, uid))) out.emplace(*id, uid);
  }
  return out;
}

Result<void> add_loops(InventoryFacts& facts) {
  BGR_TRY(const auto loops, block::list_loops(facts.layout.state_dir));
  if (loops.empty()) return {};
  const auto bases = base_files(facts.layout);
  for (const auto& loop : loops) {
    facts.loops.push_back(block::view_of(loop));
    if (const auto base = bases.find(loop.file); base != bases.end())
      facts.owner_of_loop.emplace(facts.loops.back().device, base->second);
  }
  return {};
}

}  // namespace

Result<InventoryFacts> read_inventory(const Layout& layout, const std::string& instance, net::NetActuator& net,
                                      vmm::Machines& machines) {
  InventoryFacts facts{.instance = instance, .layout = canonical(layout)};
  add_directories(facts);
  net.settle(kTapsGo);  // what is about to go is no orphan
  BGR_TRY(facts.links, net.links());
  BGR_TRY(facts.nats, net.nat_tables());
  auto uids = uids_of_processes(layout);
  for (auto& uid : machines.cgroup_uids()) uids.insert(std::move(uid));
  BGR_TRY(const auto vmms, machines.observe_all(uids, vmm::Strays::Everywhere));
  for (const auto& [uid, look] : vmms) {
    if (look.vmm->cgroup_exists || !look.vmm->processes.empty()) facts.vmms.emplace(uid, *look.vmm);
  }
  BGR_CHECK(add_loops(facts));
  BGR_TRY(facts.nodes, block::observe_root_nodes(facts.layout));
  return facts;
}

}  // namespace banger::actuators
