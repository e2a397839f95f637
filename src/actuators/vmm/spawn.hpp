// SPDX-License-Identifier: Apache-2.0
// Starts a process: the only place in this program that does. The child borrows our memory until it execs (a fork of a daemon
// that carries a database's caches costs milliseconds) and is in its cgroup before its first instruction of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {

struct Spawn {
  std::vector<std::string> argv;  // argv[0] is the program's path; PATH is not searched
  int cgroup_directory = -1;      // v2: CLONE_INTO_CGROUP
  std::vector<int> cgroup_procs;  // v1: open for writing; the child writes itself into each before the exec
};

struct Child {
  std::int64_t pid = 0;
  UniqueFd pidfd;
};

// The child has a session of its own, default signal dispositions and an empty mask, /dev/null as its three standard streams, no
// other descriptor, and the environment PATH and LANG=C alone. Errors name what failed, the exec included.
Result<Child> spawn(const Spawn& what);

}  // namespace banger::actuators::vmm
