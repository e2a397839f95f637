// SPDX-License-Identifier: Apache-2.0
#include "actuators/vm_file_looks.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "actuators/vm_files.hpp"
#include "base/testing.hpp"

namespace banger::actuators {
namespace {

namespace fs = std::filesystem;

const std::string kUid = "8d3f2a10-5c4e-4b7a-9f21-0a1b2c3d4e5f";
constexpr std::int64_t kHour = 3'600'000'000'000;

void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::trunc) << text; }

// A VM's directory, looked at by a clock for which everything has rested.
struct Scratch {
  banger::testing::ScratchDirectory scratch;
  fs::path path = scratch.path();
  Layout layout{.state_dir = path, .run_dir = path / "run"};
  fs::path directory = vm_dir(layout, kUid);
  VmFileLooks looks{layout, [] { return file_clock() + kHour; }};

  Scratch() {
    fs::create_directories(directory);
    fs::permissions(directory, fs::perms::owner_all);
    REQUIRE(write_sidecar({.uid = kUid, .ns = "default", .name = "web"}, layout) == Applied::Changed);
    put(directory / "root.img", "disk");
    put(directory / "initrd", "initrd");
    pass_time();
  }

  // Until a change would bear another time than what was done so far.
  static void pass_time() {
    const auto begun = file_clock();
    while (file_clock() == begun) ::poll(nullptr, 0, 1);
  }
  Shared<VmFiles> look() {
    auto seen = looks.look(kUid);
    REQUIRE(seen.has_value());
    return *seen;
  }
  [[nodiscard]] VmFiles anew() const {
    VmFileLooks fresh(layout);
    return **fresh.look(kUid);
  }
  // The look that is remembered: the disks of the first one are read once more.
  Shared<VmFiles> settle() {
    look();
    return look();
  }
};

struct Change {
  std::string what;
  std::function<void(const Scratch&)> make;
};

}  // namespace

TEST_CASE("what is as it was is not read again, and is one and the same") {
  Scratch scratch;
  const auto first = scratch.settle();
  CHECK(first->sidecar);
  CHECK(first->disks.size() == 1);
  CHECK(scratch.look().is(first));
  CHECK(scratch.look().is(first));
  scratch.looks.keep_only({});
  CHECK_FALSE(scratch.look().is(first));
  CHECK(scratch.look() == first);
}

TEST_CASE("what has changed too lately to be known by its times is read each time") {
  Scratch scratch;
  VmFileLooks looks(scratch.layout);
  const auto first = *looks.look(kUid);
  const auto state = file_state(scratch.directory / "vm.json");
  auto text = encode_sidecar({.uid = kUid, .ns = "default", .name = "web"});
  text.replace(text.find("\"web\""), 5, "\"wob\"");
  put(scratch.directory / "vm.json", text);
  CHECK(file_state(scratch.directory / "vm.json").size == state.size);
  CHECK((*looks.look(kUid))->sidecar->name == "wob");
}

TEST_CASE("each kind of change is noticed at the next look, as by one that has never looked") {
  const auto sidecar_named = [](const std::string& name) { return encode_sidecar({.uid = kUid, .ns = "default", .name = name}); };
  const auto vm_json = [](const Scratch& s) { return s.directory / "vm.json"; };
  const std::vector<Change> changes{
      {"vm.json replaced by one of the same size",
       [&](const Scratch& s) {
         put(s.path / "new", sidecar_named("wob"));
         ::chmod((s.path / "new").c_str(), 0600);
         fs::rename(s.path / "new", vm_json(s));
       }},
      {"vm.json written in place, of the same size", [&](const Scratch& s) { put(vm_json(s), sidecar_named("wob")); }},
      {"vm.json written, and its time set back",
       [&](const Scratch& s) {
         const auto time = fs::last_write_time(vm_json(s));
         put(vm_json(s), sidecar_named("wob"));
         fs::last_write_time(vm_json(s), time);
       }},
      {"vm.json truncated", [&](const Scratch& s) { fs::resize_file(vm_json(s), 0); }},
      {"vm.json deleted", [&](const Scratch& s) { fs::remove(vm_json(s)); }},
      {"vm.json writable by others", [&](const Scratch& s) { ::chmod(vm_json(s).c_str(), 0666); }},
      {"vm.json a symbolic link",
       [&](const Scratch& s) {
         fs::rename(vm_json(s), s.path / "elsewhere");
         fs::create_symlink(s.path / "elsewhere", vm_json(s));
       }},
      {"the directory writable by others", [](const Scratch& s) { ::chmod(s.directory.c_str(), 0777); }},
      {"the directory replaced",
       [](const Scratch& s) {
         fs::rename(s.directory, s.path / "old");
         fs::create_directory(s.directory);
       }},
      {"the directory gone", [](const Scratch& s) { fs::remove_all(s.directory); }},
      {"the directory a symbolic link",
       [](const Scratch& s) {
         fs::rename(s.directory, s.path / "old");
         fs::create_directory_symlink(s.path / "old", s.directory);
       }},
      {"a disk added", [](const Scratch& s) { put(s.directory / "disk-data.img", "data"); }},
      {"a disk removed", [](const Scratch& s) { fs::remove(s.directory / "root.img"); }},
      {"a disk grown", [](const Scratch& s) { fs::resize_file(s.directory / "root.img", 8192); }},
      {"a disk that takes more room",
       [](const Scratch& s) {
         put(s.path / "big", std::string(1U << 20U, 'x'));
         fs::rename(s.path / "big", s.directory / "root.img");
       }},
      {"a disk that is none any more",
       [](const Scratch& s) {
         fs::remove(s.directory / "root.img");
         fs::create_directory(s.directory / "root.img");
       }},
      {"a snapshot's files came", [](const Scratch& s) { put(s.directory / "root.base", "base"); }},
  };
  for (const auto& change : changes) {
    for (const int looks : {1, 2, 3}) {
      CAPTURE(change.what);
      CAPTURE(looks);
      Scratch scratch;
      const auto before = scratch.look();
      for (int i = 1; i < looks; ++i) REQUIRE(scratch.look().is(before));
      change.make(scratch);
      const auto after = scratch.look();
      CHECK_FALSE(after == before);
      CHECK(*after == scratch.anew());
      CHECK(scratch.look() == after);
    }
  }
}

TEST_CASE("a changed note of the backend and another initrd are noticed") {
  Scratch scratch;
  const auto root = (scratch.directory / "root.img").native();
  const auto before = scratch.settle();
  CHECK(before->disks[0].backend == "copy");
  if (::setxattr(root.c_str(), "user.banger.backend", "reflink", 7, 0) == 0) {
    CHECK(scratch.look()->disks[0].backend == "reflink");
  } else {
    MESSAGE("not looked at: this file system takes no notes (extended attributes)");
  }
  scratch.settle();
  put(scratch.directory / "initrd", "other!");
  CHECK(*scratch.look() == scratch.anew());
}

TEST_CASE("a disk that is written all the time costs no reading of the rest") {
  Scratch scratch;
  const auto before = scratch.settle();
  for (int i = 0; i < 3; ++i) {
    put(scratch.directory / "root.img", "disc");
    CHECK(scratch.look().is(before));
  }
}

TEST_CASE("threads that take part share the looks out, and each VM's is its own") {
  Scratch scratch;
  std::set<std::string> uids;
  for (int i = 0; i < 200; ++i) uids.insert(fmt::format("8d3f2a10-5c4e-4b7a-9f21-{:012x}", i));
  for (const auto& uid : uids) fs::create_directories(vm_dir(scratch.layout, uid));
  put(root_base_path(scratch.layout, *uids.begin()), "base");
  uids.insert(kUid);
  LooksTogether together(scratch.looks, uids);
  {
    std::jthread beside([&] { together.take_part(); });
    together.take_part();
  }
  CHECK(together.with_root_files() == std::set{*uids.begin()});
  CHECK((*together.of(kUid))->sidecar);
  CHECK_FALSE((*together.of(*uids.begin()))->sidecar);
  const std::string late = "8d3f2a10-5c4e-4b7a-9f21-ffffffffffff";
  CHECK_FALSE((*together.of(late))->directory_exists);
  for (const auto& uid : uids) CHECK((*together.of(uid)).is(*scratch.looks.look(uid)));
}

}  // namespace banger::actuators
