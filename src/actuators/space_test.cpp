// SPDX-License-Identifier: Apache-2.0
#include "actuators/space.hpp"
#include "base/testing.hpp"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <string>

using namespace banger;
using namespace banger::actuators;
using namespace std::chrono_literals;

namespace {

// A tmpfs of 1 MiB, in a mount namespace of our own.
struct SmallDisk {
  std::filesystem::path path;
  bool mounted = false;
  SmallDisk() {
    std::array<char, 32> name{"/var/tmp/banger-test-XXXXXX"};
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name.data();
    mounted = banger::testing::enter_private_mounts() && ::mount("banger-test", path.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~SmallDisk() {
    if (mounted) ::umount2(path.c_str(), MNT_DETACH);
    ::rmdir(path.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  void fill(std::size_t kibibytes) const { std::ofstream(path / "file", std::ios::binary) << std::string(kibibytes << 10U, 'x'); }
};

}  // namespace

TEST_CASE("little space is little both in bytes and as a part") {
  CHECK(space_level(gib(2), gib(1000)) == SpaceLevel::Plenty);
  CHECK(space_level(mib(900), gib(1000)) == SpaceLevel::Low);
  CHECK(space_level(mib(31), gib(1000)) == SpaceLevel::Full);
  CHECK(space_level(mib(60), gib(1)) == SpaceLevel::Plenty);
  CHECK(space_level(mib(40), gib(1)) == SpaceLevel::Low);
  CHECK(space_level(mib(9), gib(1)) == SpaceLevel::Full);
  CHECK(space_level({}, gib(1)) == SpaceLevel::Full);
  CHECK(space_level({}, {}) == SpaceLevel::Plenty);  // a file system that does not count
  CHECK(look_at_space("/nonexistent") == SpaceLevel::Plenty);
}

TEST_CASE("a watcher tells when a file system fills up and when it has room again, and nothing in between") {
  const SmallDisk disk;
  if (!disk.mounted) {
    MESSAGE("skipped: no file system can be mounted here");
    return;
  }
  std::atomic<int> told = 0;
  std::atomic<SpaceLevel> last = SpaceLevel::Low;
  const SpaceWatcher watcher(
      disk.path,
      [&](SpaceLevel level) {
        last = level;
        ++told;
      },
      5ms);
  const auto comes = [&](SpaceLevel level) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (last != level && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
    return last == level;
  };
  disk.fill(1024);
  CHECK(comes(SpaceLevel::Full));
  disk.fill(100);
  CHECK(comes(SpaceLevel::Plenty));
  const int before = told;
  disk.fill(200);
  std::this_thread::sleep_for(50ms);  // ten looks in which nothing is to happen
  CHECK(told == before);
}
