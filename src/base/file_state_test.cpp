// SPDX-License-Identifier: Apache-2.0
#include "base/file_state.hpp"
#include "base/testing.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

using namespace banger;
namespace fs = std::filesystem;

namespace {

using Scratch = testing::ScratchDirectory;

constexpr std::int64_t kMinute = 60'000'000'000;

}  // namespace

TEST_CASE("a state tells another file, other rights, another length and another kind apart") {
  const Scratch scratch;
  const auto path = scratch.path() / "file";
  CHECK_FALSE(file_state(path).exists);
  std::ofstream(path) << "one";
  const auto before = file_state(path);
  CHECK(before.exists);
  CHECK(before.size == 3);
  CHECK_FALSE(before.is_directory());
  CHECK(file_state(path) == before);

  ::chmod(path.c_str(), 0666);
  const auto chmodded = file_state(path);
  CHECK(chmodded != before);
  std::ofstream(scratch.path() / "other") << "two";
  fs::rename(scratch.path() / "other", path);
  CHECK(file_state(path) != chmodded);
  CHECK(file_state(path).size == 3);
  fs::resize_file(path, 1);
  CHECK(file_state(path).size == 1);
  fs::remove(path);
  fs::create_symlink(scratch.path(), path);
  CHECK_FALSE(file_state(path).is_directory());
  CHECK(file_state(scratch.path()).is_directory());
}

TEST_CASE("what changed a moment ago, or by a clock ahead of ours, is not known by its state alone") {
  const Scratch scratch;
  std::ofstream(scratch.path() / "file") << "one";
  const auto state = file_state(scratch.path() / "file");
  const auto now = file_clock();
  CHECK_FALSE(state.rested(now));
  CHECK(state.rested(now + kMinute));
  CHECK_FALSE(state.rested(now - kMinute));
  CHECK(FileState{}.rested(now));
}

TEST_CASE("looks below a directory see what whole paths see, and stay with the directory that they began with") {
  const Scratch scratch;
  const auto top = scratch.path() / "top";
  fs::create_directories(top / "vm");
  std::ofstream(top / "vm" / "file") << "one";
  fs::create_symlink("file", top / "vm" / "link");
  const FilesBelow below(top);
  for (const std::string name : {"vm", "vm/file", "vm/link", "vm/absent", "absent"}) {
    CAPTURE(name);
    CHECK(below.state(name) == file_state(top / name));
  }
  fs::rename(top, scratch.path() / "away");
  fs::create_directory(top);
  CHECK(below.state("vm/file").exists);
  CHECK_FALSE(FilesBelow(top).state("vm/file").exists);
}

TEST_CASE("below a directory that cannot be opened files are looked at by their whole paths") {
  const Scratch scratch;
  std::ofstream(scratch.path() / "file") << "one";
  CHECK_FALSE(FilesBelow(scratch.path() / "absent").state("file").exists);
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const FilesBelow below(scratch.path());
  const auto seen = below.state("file");
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(seen.exists);
  CHECK(seen == file_state(scratch.path() / "file"));
}

TEST_CASE("each name of a directory is seen once, hidden ones and those of no directory not at all") {
  const Scratch scratch;
  for (const auto* name : {"a", "b", ".hidden"}) std::ofstream(scratch.path() / name) << "";
  std::multiset<std::string> names;
  for_each_name(scratch.path(), [&](std::string_view name) { names.emplace(name); });
  CHECK(names == std::multiset<std::string>{"a", "b"});
  for_each_name(scratch.path() / "absent", [&](std::string_view name) { names.emplace(name); });
  CHECK(names.size() == 2);
}
