// SPDX-License-Identifier: Apache-2.0
#include "base/file_state.hpp"
#include "base/testing.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

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
