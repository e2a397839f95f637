// SPDX-License-Identifier: Apache-2.0
// A cgroup per VM, on cgroup v2 where it can kill (Linux 5.14), else on the v1 hierarchies freezer and pids. No controller is
// needed: the group is what says which processes are the VM's, and what ends them all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {

struct CgroupMount {
  std::filesystem::path path;
  std::string kind;                      // "cgroup" | "cgroup2"
  std::vector<std::string> controllers;  // of a v1 hierarchy: "freezer", "pids", …
  bool writable = false;
  bool operator==(const CgroupMount&) const = default;
};

// The cgroup mounts of a /proc/<pid>/mountinfo (proc(5)); lines that are not understood are left out.
std::vector<CgroupMount> cgroup_mounts(std::string_view mountinfo);

// How VM groups are kept: the directories that get one each. Exactly one for v2; one per hierarchy for v1, freezer first.
struct Hierarchy {
  int version = 2;
  std::vector<std::filesystem::path> roots;
  bool operator==(const Hierarchy&) const = default;
};

// Chooses from this machine's mounts, v2 first. Unavailable with a sentence when neither can be used. To see whether v2 can kill,
// banger.slice is made and removed again where it is not there.
Result<Hierarchy> find_hierarchy();
// The v1 hierarchies only, whatever v2 can do.
Result<Hierarchy> find_hierarchy_v1();

// All names are those of names.hpp. Thread-safe: it keeps nothing but the paths.
class Cgroups {
 public:
  explicit Cgroups(Hierarchy hierarchy) : hierarchy_(std::move(hierarchy)) {}

  [[nodiscard]] const Hierarchy& hierarchy() const { return hierarchy_; }

  Result<bool> make(std::string_view uid);  // false: it was there
  [[nodiscard]] bool exists(std::string_view uid) const;
  // The processes in it, without zombies; empty when there is no such group. Where it has none, those of groups below it.
  [[nodiscard]] std::vector<std::int64_t> pids(std::string_view uid) const;
  [[nodiscard]] bool populated(std::string_view uid) const;
  // SIGKILL to everything in it, forks included; does not wait for the end. False: there was nothing to kill.
  Result<bool> kill(std::string_view uid);
  // Busy while populated; false: it was not there. Removes banger.slice with the last group.
  Result<bool> remove(std::string_view uid);
  [[nodiscard]] std::vector<std::string> uids() const;  // of all groups named like ours, sorted

  // What a new process has to be put into: for v2 the directory (CLONE_INTO_CGROUP), for v1 each cgroup.procs, open for writing.
  Result<std::vector<UniqueFd>> open_for_spawn(std::string_view uid) const;

 private:
  Result<bool> kill_v1(std::string_view uid);

  Hierarchy hierarchy_;
};

}  // namespace banger::actuators::vmm
