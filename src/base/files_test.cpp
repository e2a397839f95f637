// SPDX-License-Identifier: Apache-2.0
#include "base/files.hpp"
#include "base/testing.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

using namespace banger;

namespace {
using TempDir = testing::ScratchDirectory;
}  // namespace

TEST_CASE("a durable write replaces the file whole, with the mode asked for, and leaves no temporary file") {
  const TempDir dir;
  const auto file = dir.path() / "a";
  REQUIRE(write_file_durably(file, "one", 0600));
  REQUIRE(write_file_durably(file, "two", 0600));
  CHECK(read_file(file, kib(1)).value() == "two");
  struct stat info{};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0600U);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("reading refuses what is too long and what is no regular file") {
  const TempDir dir;
  REQUIRE(write_file_durably(dir.path() / "long", std::string(2000, 'x'), 0600));
  CHECK(read_file(dir.path() / "long", kib(1)).error().code == ErrorCode::Invalid);
  CHECK(read_file(dir.path(), kib(1)).error().code == ErrorCode::Invalid);
  CHECK(read_file(dir.path() / "none", kib(1)).error().code == ErrorCode::NotFound);
}

TEST_CASE("directories are made with their parents and it does not matter if they are there") {
  const TempDir dir;
  REQUIRE(make_directories(dir.path() / "a/b/c", 0700));
  REQUIRE(make_directories(dir.path() / "a/b/c", 0700));
  REQUIRE(write_file_durably(dir.path() / "file", "", 0600));
  CHECK_FALSE(make_directories(dir.path() / "file", 0700).has_value());
  REQUIRE(remove_tree(dir.path() / "a"));
  REQUIRE(remove_tree(dir.path() / "a"));
  CHECK_FALSE(std::filesystem::exists(dir.path() / "a"));
}
