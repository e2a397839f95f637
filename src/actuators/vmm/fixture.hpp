// SPDX-License-Identifier: Apache-2.0
// For the tests of this folder: a scratch layout, and groups that are emptied and removed whatever happens.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "actuators/names.hpp"
#include "actuators/vmm/cgroup.hpp"
#include "base/random.hpp"
#include "base/testing.hpp"

namespace banger::actuators::vmm::test {

using Directory = banger::testing::ScratchDirectory;

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// For what another process or the kernel does in its own time.
inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

inline std::string fresh_uid() {
  SystemRandom random;
  return new_uid(random);
}

// A VM's uid whose group is killed and removed at the end of the test.
struct Group {
  Cgroups cgroups;
  std::string uid = fresh_uid();
  explicit Group(Hierarchy hierarchy) : cgroups(std::move(hierarchy)) {}
  ~Group() {
    (void)cgroups.kill(uid);
    (void)eventually([&] { return !cgroups.populated(uid); });
    (void)cgroups.remove(uid);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
};

// Nothing (and a printed reason) where this machine or user cannot have cgroups.
inline std::vector<Hierarchy> usable_hierarchies() {
  std::vector<Hierarchy> out;
  const auto first = find_hierarchy();
  for (const auto& found : {first, find_hierarchy_v1()}) {
    if (found && (out.empty() || out.front() != *found)) out.push_back(*found);
  }
  if (out.empty()) MESSAGE("skipped: ", first.error().message);
  return out;
}

}  // namespace banger::actuators::vmm::test
