// SPDX-License-Identifier: Apache-2.0
// On real loop devices, without device-mapper: what is shared, and what others' loops are to us.
#include "actuators/block/root_loops.hpp"

#include <doctest/doctest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "actuators/block/testing.hpp"
#include "actuators/names.hpp"
#include "base/testing.hpp"

namespace banger::actuators::block {
namespace {

namespace fs = std::filesystem;

const std::string kOne = "11111111-0123-4567-89ab-0123456789ab";
const std::string kOtherUid = "22222222-0123-4567-89ab-0123456789ab";

void make_file(const fs::path& path, Bytes size) {
  testing::write(path, "");
  fs::resize_file(path, size.value);
}

// Two VMs of one image, as make_root_files leaves them.
struct Files {
  explicit Files(const fs::path& top) : layout{top / "state", top / "run"} {
    if (fs::exists(layout.state_dir)) return;
    fs::create_directories(layout.state_dir);
    make_file(layout.state_dir / "image", mib(4));
    for (const auto& uid : {kOne, kOtherUid}) {
      fs::create_directories(vm_dir(layout, uid));
      fs::create_hard_link(layout.state_dir / "image", root_base_path(layout, uid));
      make_file(root_cow_path(layout, uid), mib(2));
    }
  }
  [[nodiscard]] RootLoopRequest of(const std::string& uid) const {
    return {.vm_uid = uid, .base = root_base_path(layout, uid), .cow = root_cow_path(layout, uid), .size = mib(4)};
  }
  Layout layout;
};

// Covers the device with what is no loop, in the mounts of this process only: it is bound, and cannot be asked.
void bar(const LoopDevice& loop) { REQUIRE(::mount("/dev/null", loop.path().c_str(), nullptr, MS_BIND, nullptr) == 0); }

bool can_make_loops(const Result<LoopDevice>& loop) {
  if (!loop) MESSAGE("skipped: no loop device can be made here: ", loop.error().message);
  return loop.has_value();
}

}  // namespace

TEST_CASE("child: makes loops beside such as cannot be asked" * doctest::skip()) {
  if (!banger::testing::enter_private_mounts()) {
    MESSAGE("skipped: no mount namespace of its own can be made here: errno ", errno);
    return;
  }
  const Files files(fs::path(std::getenv("BANGER_TEST_DIRECTORY")));
  const auto foreign = attach_loop(
      {.file = fs::path(std::getenv("BANGER_TEST_DIRECTORY")) / "foreign", .access = LoopAccess::ReadWrite, .label = "theirs"});
  REQUIRE(foreign);
  bar(*foreign);
  CHECK_FALSE(list_loops());  // it is barred indeed
  const auto one = root_loops(files.of(kOne));
  REQUIRE_MESSAGE(one, one.error().message);
  const auto other = root_loops(files.of(kOtherUid));
  REQUIRE_MESSAGE(other, other.error().message);
  CHECK(one->base.status().index == other->base.status().index);  // shared as ever
  CHECK(one->base.status().read_only);
  CHECK(one->cow.status().index != other->cow.status().index);
  CHECK(root_loops(files.of(kOne))->cow.status().index == one->cow.status().index);

  // One of a VM's own that cannot be asked may be the one it needs: that VM waits, and no other.
  bar(one->cow);
  CHECK_FALSE(root_loops(files.of(kOne)));
  const auto again = root_loops(files.of(kOtherUid));
  REQUIRE_MESSAGE(again, again.error().message);
  CHECK(again->cow.status().index == other->cow.status().index);
}

TEST_CASE("a loop of somebody else that cannot be asked keeps no root disk from its loops, nor the base from being shared") {
  const testing::Directory directory;
  make_file(directory.path() / "foreign", mib(1));
  if (!can_make_loops(attach_loop({.file = directory.path() / "foreign", .access = LoopAccess::ReadWrite, .label = "theirs"})))
    return;
  const fs::path real = directory.path() / "disk";
  fs::create_directory(real);
  make_file(real / "foreign", mib(1));
  fs::create_directory_symlink(real, directory.path() / "link");  // where --state-dir leads through one
  for (const auto* top : {"disk", "link"}) {
    CAPTURE(top);
    const auto path = directory.path() / top;
    const Files files(path);
    ::setenv("BANGER_TEST_DIRECTORY", path.c_str(), 1);
    const auto ran = testing::run_child("child: makes loops beside such as cannot be asked", "");
    CHECK_MESSAGE(ran.status == 0, ran.output);
    if (ran.output.find("skipped: ") != std::string::npos) MESSAGE(ran.output);
  }
}

}  // namespace banger::actuators::block
