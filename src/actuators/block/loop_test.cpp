// SPDX-License-Identifier: Apache-2.0
// On this machine's own loop devices, over files of our own; skipped where there are none.
#include "actuators/block/loop.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>

#include "actuators/block/testing.hpp"

namespace banger::actuators::block {
namespace {

bool have_loops() {
  const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (control.valid()) return true;
  MESSAGE("skipped: /dev/loop-control cannot be opened here");
  return false;
}

std::filesystem::path make_file(const std::filesystem::path& path, Bytes size, char first) {
  testing::write(path, std::string(4096, first));
  std::filesystem::resize_file(path, size.value);
  return path;
}

bool is_listed(const FileId& file) {
  const auto loops = list_loops();
  REQUIRE(loops.has_value());
  return std::ranges::find(*loops, file, &LoopStatus::file) != loops->end();
}

char first_byte(const LoopDevice& loop) {
  const UniqueFd fd(::open(loop.path().c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  REQUIRE(::pread(fd.get(), &byte, 1, 0) == 1);
  return byte;
}

TEST_CASE("a loop stands over its file, says so, and is gone with the last who has it open") {
  if (!have_loops()) return;
  const testing::Directory directory;
  const auto path = make_file(directory.path() / "root.cow", mib(1), 'a');
  const auto id = file_id(path);
  REQUIRE(id.has_value());
  {
    const auto loop = attach_loop({.file = path, .access = LoopAccess::ReadWrite, .label = "banger:test"});
    REQUIRE_MESSAGE(loop.has_value(), loop.error().message);
    CHECK(loop->status().file == *id);
    CHECK(loop->status().label == "banger:test");
    CHECK(loop->status().autoclear);
    CHECK_FALSE(loop->status().read_only);
    CHECK(loop->status().offset == Bytes{});
    CHECK(loop->size() == mib(1));
    CHECK(first_byte(*loop) == 'a');
    CHECK(loop_of(major(loop->number()), minor(loop->number())) == loop->status().index);
    CHECK(is_listed(*id));
    const auto view = view_of(loop->status());
    CHECK(view.device == loop->path());
    CHECK(view.backing == path.native());
    CHECK_FALSE(view.deleted);
    CHECK(view.size == mib(1));
    CHECK(view_of(loop->status(), "/known").backing == "/known");
    std::filesystem::remove(path);
    CHECK(view_of(loop->status()).deleted);
    CHECK(view_of(loop->status()).backing == path.native());
  }
  CHECK_FALSE(is_listed(*id));
}

TEST_CASE("a read-only loop cannot be written, and hard links are one file to it") {
  if (!have_loops()) return;
  const testing::Directory directory;
  const auto path = make_file(directory.path() / "base.ext4", mib(1), 'b');
  std::filesystem::create_hard_link(path, directory.path() / "root.base");
  const auto loop = attach_loop({.file = directory.path() / "root.base", .access = LoopAccess::ReadOnly, .label = ""});
  REQUIRE_MESSAGE(loop.has_value(), loop.error().message);
  CHECK(loop->status().read_only);
  CHECK(loop->status().file == file_id(path).value());
  const UniqueFd fd(::open(loop->path().c_str(), O_RDWR | O_CLOEXEC));
  CHECK((!fd.valid() || ::pwrite(fd.get(), "x", 1, 0) != 1));
  const auto again = LoopDevice::open(loop->status().index);
  REQUIRE(again.has_value());
  REQUIRE(again->has_value());
  CHECK((*again)->status() == loop->status());
}

TEST_CASE("a loop follows the size of its file when it is told to") {
  if (!have_loops()) return;
  const testing::Directory directory;
  const auto path = make_file(directory.path() / "root.cow", mib(1), 'c');
  const auto loop = attach_loop({.file = path, .access = LoopAccess::ReadWrite, .label = ""});
  REQUIRE_MESSAGE(loop.has_value(), loop.error().message);
  std::filesystem::resize_file(path, mib(4).value);
  CHECK(loop->size() == mib(1));
  REQUIRE(loop->follow_file_size().has_value());
  CHECK(loop->size() == mib(4));
}

TEST_CASE("what is no regular file gets no loop") {
  if (!have_loops()) return;
  const testing::Directory directory;
  const auto path = make_file(directory.path() / "file", mib(1), 'd');
  std::filesystem::create_symlink(path, directory.path() / "link");
  const auto attach = [](const std::filesystem::path& file) {
    return attach_loop({.file = file, .access = LoopAccess::ReadOnly, .label = ""});
  };
  CHECK(attach(directory.path() / "absent").error().code == ErrorCode::NotFound);
  CHECK(attach(directory.path() / "link").error().code == ErrorCode::Invalid);
  CHECK(attach("/dev/null").error().code == ErrorCode::Invalid);
  CHECK(file_id(directory.path() / "link").error().code == ErrorCode::Invalid);
  CHECK_FALSE(loop_of(1, 3).has_value());
}

TEST_CASE("many that ask at once all get a loop of their own, or are told to come again") {
  if (!have_loops()) return;
  const testing::Directory directory;
  const auto path = make_file(directory.path() / "file", mib(1), 'e');
  std::vector<std::optional<Result<LoopDevice>>> got(8);
  {
    std::vector<std::jthread> threads;
    for (auto& slot : got) {
      threads.emplace_back([&slot, &path] {
        for (int round = 0; round < 20; ++round) {
          slot.reset();
          slot = attach_loop({.file = path, .access = LoopAccess::ReadOnly, .label = "banger:race"});
        }
      });
    }
  }
  std::vector<unsigned> indices;
  for (const auto& slot : got) {
    if (slot->has_value()) {
      indices.push_back((*slot)->status().index);
    } else {
      CHECK(slot->error().code == ErrorCode::Busy);
    }
  }
  CHECK_FALSE(indices.empty());
  std::ranges::sort(indices);
  CHECK(std::ranges::adjacent_find(indices) == indices.end());
  got.clear();
  CHECK_FALSE(is_listed(file_id(path).value()));
}

TEST_CASE("child: finds no free loop" * doctest::skip()) {
  const testing::Directory directory;
  const auto path = make_file(directory.path() / "file", mib(1), 'f');
  const auto loop = attach_loop({.file = path, .access = LoopAccess::ReadOnly, .label = ""});
  REQUIRE_FALSE(loop.has_value());
  CHECK(loop.error().code == ErrorCode::Unavailable);
}

#ifdef BANGER_FAILPOINTS
TEST_CASE("without a free loop another try is worth it") {
  const auto ran = testing::run_child("child: finds no free loop", "loop.attach=error(ENOSPC)");
  CHECK_MESSAGE(ran.status == 0, ran.output);
}
#endif

}  // namespace
}  // namespace banger::actuators::block
