// SPDX-License-Identifier: Apache-2.0
#include "actuators/vm_files.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <vector>

#include "base/files.hpp"
#include "base/testing.hpp"

namespace banger::actuators {
namespace {

namespace fs = std::filesystem;

const std::string kVmUid = "8d3f2a10-5c4e-4b7a-9f21-0a1b2c3d4e5f";

struct FilesScratch {
  banger::testing::ScratchDirectory scratch;
  fs::path path = scratch.path();
  Layout layout{.state_dir = path, .run_dir = path / "run"};
  fs::path file = sidecar_path(layout, kVmUid);

  FilesScratch() {
    fs::create_directories(file.parent_path());
    fs::permissions(file.parent_path(), fs::perms::owner_all);
    REQUIRE(write_sidecar(sidecar(), layout) == Applied::Changed);
  }

  static Sidecar sidecar() { return {.uid = kVmUid, .ns = "default", .name = "web"}; }
  VmView view() const {
    VmView seen{.uid = kVmUid};
    add_sidecar(seen, layout);
    return seen;
  }
};

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::trunc) << text; }

struct Damage {
  std::string said;  // part of the sentence
  std::function<void(const fs::path&)> make;
};

TEST_CASE("a vm.json that cannot be trusted is named, taken for lost, set aside, and written anew") {
  const std::vector<Damage> damages{
      {"vm.json cannot be read", [](const fs::path& file) { write_text(file, "{\"format\": 1, \"uid\": \"8d3f"); }},
      {"format", [](const fs::path& file) { write_text(file, "{}"); }},
      {"vm.json cannot be read", [](const fs::path& file) { write_text(file, std::string(4096, '\0')); }},
      {"another VM",
       [](const fs::path& file) { write_text(file, encode_sidecar({.uid = "1d3f2a10-5c4e-4b7a-9f21-0a1b2c3d4e5f"})); }},
      {"symbolic link",
       [](const fs::path& file) {
         fs::rename(file, file.parent_path() / "elsewhere");
         fs::create_symlink("elsewhere", file);
       }},
      {"vm.json", [](const fs::path& file) { fs::permissions(file, fs::perms(0666)); }},
      {"not a regular file",
       [](const fs::path& file) {
         fs::remove(file);
         REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
       }},
  };
  for (const auto& damage : damages) {
    CAPTURE(damage.said);
    const FilesScratch scratch;
    CHECK(scratch.view().sidecar);
    damage.make(scratch.file);
    const auto seen = scratch.view();
    CHECK(seen.directory_exists);
    CHECK_FALSE(seen.sidecar);
    CHECK_MESSAGE(seen.sidecar_error.find(damage.said) != std::string::npos, seen.sidecar_error);
    CHECK(write_sidecar(FilesScratch::sidecar(), scratch.layout) == Applied::Changed);
    CHECK(scratch.view().sidecar == FilesScratch::sidecar());
    CHECK(fs::exists(fs::symlink_status(scratch.file.native() + ".bad-1")));
    CHECK(write_sidecar(FilesScratch::sidecar(), scratch.layout) == Applied::Unchanged);
  }
}

TEST_CASE("vm.json of somebody else is not trusted") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root can give files away");
    return;
  }
  const FilesScratch scratch;
  REQUIRE(::chown(scratch.file.c_str(), 65534, 65534) == 0);
  CHECK_FALSE(scratch.view().sidecar);
  CHECK(write_sidecar(FilesScratch::sidecar(), scratch.layout) == Applied::Changed);
  CHECK(scratch.view().sidecar);
  CHECK(fs::exists(scratch.file.native() + ".bad-1"));
}

TEST_CASE("an empty vm.json is not worth keeping, and a second bad one does not replace the first") {
  const FilesScratch scratch;
  write_text(scratch.file, "");
  CHECK(write_sidecar(FilesScratch::sidecar(), scratch.layout) == Applied::Changed);
  CHECK_FALSE(fs::exists(scratch.file.native() + ".bad-1"));
  for (const auto* text : {"first", "second"}) {
    write_text(scratch.file, text);
    CHECK(write_sidecar(FilesScratch::sidecar(), scratch.layout) == Applied::Changed);
  }
  CHECK(*read_file(scratch.file.native() + ".bad-1", kib(1)) == "first");
  CHECK(*read_file(scratch.file.native() + ".bad-2", kib(1)) == "second");
}

TEST_CASE("a directory that others can write to, or a link in its place, is no place for a record") {
  const FilesScratch scratch;
  const auto directory = scratch.file.parent_path();
  fs::permissions(directory, fs::perms(0777));
  CHECK_FALSE(scratch.view().sidecar);
  CHECK(scratch.view().sidecar_error.find(directory.native()) != std::string::npos);
  CHECK(write_sidecar(FilesScratch::sidecar(), scratch.layout).error().code == ErrorCode::Denied);
  fs::permissions(directory, fs::perms::owner_all);
  CHECK(scratch.view().sidecar);
  fs::rename(directory, scratch.path / "moved");
  fs::create_directory_symlink(scratch.path / "moved", directory);
  CHECK_FALSE(scratch.view().directory_exists);
  CHECK(scratch.view().directory_is_link);
  CHECK_FALSE(write_sidecar(FilesScratch::sidecar(), scratch.layout));
}

TEST_CASE("of a link in the place of a directory the link is removed, and what it leads to stays") {
  const FilesScratch scratch;
  const auto directory = scratch.file.parent_path();
  fs::rename(directory, scratch.path / "moved");
  fs::create_directory_symlink(scratch.path / "moved", directory);
  CHECK(remove_directory(directory) == Applied::Changed);
  CHECK_FALSE(fs::exists(fs::symlink_status(directory)));
  CHECK(fs::exists(scratch.path / "moved" / scratch.file.filename()));
  CHECK_FALSE(scratch.view().directory_is_link);
  CHECK(remove_directory(directory) == Applied::Unchanged);
}

}  // namespace
}  // namespace banger::actuators
