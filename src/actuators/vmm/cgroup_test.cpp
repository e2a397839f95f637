// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/cgroup.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/spawn.hpp"

using namespace banger;
using namespace banger::actuators::vmm;

namespace {

// A process that sleeps until it is killed, in the group.
Result<Child> sleeper(const test::Group& group) {
  BGR_TRY(const auto fds, group.cgroups.open_for_spawn(group.uid));
  Spawn what{{BANGER_TEST_VMM}};
  if (group.cgroups.hierarchy().version == 2) {
    what.cgroup_directory = fds.front().get();
  } else {
    for (const auto& fd : fds) what.cgroup_procs.push_back(fd.get());
  }
  return spawn(what);
}

}  // namespace

TEST_CASE("both generations of cgroups are tried where this machine has both") {
  for (const auto& found : {find_hierarchy(), find_hierarchy_v1()}) {
    if (!found) {
      MESSAGE("skipped: what runs on each hierarchy runs on one: ", found.error().message);
      return;
    }
    CHECK((found->version == 1 || found->version == 2));
  }
}

TEST_CASE("cgroup mounts are read from mountinfo") {
  const auto mounts = cgroup_mounts(
      "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
      "37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "41 31 0:38 / /mnt/a\\040b\\134c ro,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
      "42 31 0:38 / /mnt/x rw - cgroup2 cgroup2 rw\n"
      "garbage - cgroup2 cgroup2 rw\n43 31 - cgroup\n\n");
  REQUIRE(mounts.size() == 4);
  CHECK(mounts[0] == CgroupMount{"/sys/fs/cgroup/freezer", "cgroup", {"freezer"}, true});
  CHECK(mounts[1].controllers == std::vector<std::string>{"cpu", "cpuacct"});
  CHECK(mounts[2] == CgroupMount{"/mnt/a b\\c", "cgroup2", {}, false});
  CHECK(mounts[3].writable);
}

TEST_CASE("a group holds what is started in it, and a kill empties it") {
  for (const auto& hierarchy : test::usable_hierarchies()) {
    CAPTURE(hierarchy.version);
    test::Group group(hierarchy);
    REQUIRE(group.cgroups.make(group.uid).value());
    CHECK_FALSE(group.cgroups.make(group.uid).value());
    CHECK(group.cgroups.exists(group.uid));
    CHECK_FALSE(group.cgroups.populated(group.uid));
    const auto uids = group.cgroups.uids();
    CHECK(std::ranges::find(uids, group.uid) != uids.end());

    std::vector<Child> children;
    for (int i = 0; i < 3; ++i) {
      auto child = sleeper(group);
      REQUIRE(child);
      children.push_back(*std::move(child));
    }
    CHECK(group.cgroups.pids(group.uid).size() == 3);
    CHECK(group.cgroups.populated(group.uid));
    REQUIRE_FALSE(group.cgroups.remove(group.uid));
    CHECK(group.cgroups.remove(group.uid).error().code == ErrorCode::Busy);

    CHECK(group.cgroups.kill(group.uid).value());
    CHECK(test::eventually([&] { return !group.cgroups.populated(group.uid); }));
    CHECK(group.cgroups.pids(group.uid).empty());  // zombies are not counted: nobody has reaped them
    CHECK_FALSE(group.cgroups.kill(group.uid).value());
    CHECK(group.cgroups.remove(group.uid).value());
    CHECK_FALSE(group.cgroups.exists(group.uid));
    CHECK_FALSE(group.cgroups.remove(group.uid).value());
    for (const auto& child : children) {
      siginfo_t info{};
      CHECK(::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED) == 0);
      CHECK(info.si_status == SIGKILL);
    }
  }
}

TEST_CASE("a group that is not there is empty and cannot be entered") {
  for (const auto& hierarchy : test::usable_hierarchies()) {
    test::Group group(hierarchy);
    CHECK_FALSE(group.cgroups.exists(group.uid));
    CHECK_FALSE(group.cgroups.populated(group.uid));
    CHECK_FALSE(group.cgroups.kill(group.uid).value());
    CHECK(group.cgroups.open_for_spawn(group.uid).error().code == ErrorCode::NotFound);
  }
}
