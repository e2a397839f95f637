// SPDX-License-Identifier: Apache-2.0
#include "server/serial_log.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "server/rig.hpp"

using namespace banger;
using namespace banger::server;

namespace {

struct Log {
  TempDir dir;
  ManualClock clock;
  std::string path = dir.file("serial.log");

  void append(std::string_view text) { std::ofstream(path, std::ios::app) << text; }
  void rotate() { std::filesystem::rename(path, path + ".1"); }
  std::unique_ptr<LogStream> open(LogQuery query = {}) {
    query.path = path;
    auto stream = LogStream::open(query, clock);
    REQUIRE(stream);
    return *std::move(stream);
  }
};

std::string read_out(Stream& stream, bool* ended = nullptr) {
  std::string text;
  for (;;) {
    const auto chunk = stream.next();
    text += chunk.bytes;
    if (ended != nullptr) *ended = chunk.end;
    if (!chunk.more) return text;
  }
}

}  // namespace

TEST_CASE("the log is the rotated part and the current one") {
  Log log;
  log.append("one\n");
  log.rotate();
  log.append("two\n");
  bool ended = false;
  CHECK(read_out(*log.open(), &ended) == "one\ntwo\n");
  CHECK(ended);
  CHECK(read_out(*log.open({.previous = true})) == "one\n");
}

TEST_CASE("the last lines may span both parts") {
  Log log;
  log.append("a\nb\nc\n");
  log.rotate();
  log.append("d\ne");
  CHECK(read_out(*log.open({.tail_lines = 1})) == "e");
  CHECK(read_out(*log.open({.tail_lines = 2})) == "d\ne");
  CHECK(read_out(*log.open({.tail_lines = 3})) == "c\nd\ne");
  CHECK(read_out(*log.open({.tail_lines = 99})) == "a\nb\nc\nd\ne");
  CHECK(read_out(*log.open({.tail_lines = 0})).empty());
  CHECK(read_out(*log.open({.tail_lines = 2, .previous = true})) == "b\nc\n");
}

TEST_CASE("the last lines of a long log are found from its end") {
  Log log;
  for (int i = 0; i < 40000; ++i) log.append(std::to_string(i) + "\n");
  CHECK(read_out(*log.open({.tail_lines = 2})) == "39998\n39999\n");
  const auto all = read_out(*log.open());
  CHECK(all.size() == std::filesystem::file_size(log.path));
}

TEST_CASE("following goes on over a rotation without losing or repeating a byte") {
  Log log;
  log.append("one\n");
  const auto stream = log.open({.follow = true});
  bool ended = true;
  CHECK(read_out(*stream, &ended) == "one\n");
  CHECK_FALSE(ended);
  log.append("two\n");
  CHECK(read_out(*stream) == "two\n");
  log.append("late\n");
  log.rotate();
  CHECK(read_out(*stream) == "late\n");
  log.append("three\n");
  CHECK(read_out(*stream) == "three\n");
  log.rotate();
  log.append("four\n");
  CHECK(read_out(*stream) == "four\n");
}

TEST_CASE("following starts over when the log is truncated in place") {
  Log log;
  log.append("a long first line\n");
  const auto stream = log.open({.follow = true});
  read_out(*stream);
  std::filesystem::resize_file(log.path, 0);
  log.append("new\n");
  CHECK(read_out(*stream) == "new\n");
}

TEST_CASE("a log that is not there yet is empty, and can be followed into being") {
  Log log;
  CHECK(read_out(*log.open()).empty());
  const auto stream = log.open({.follow = true});
  CHECK(read_out(*stream).empty());
  log.append("born\n");
  CHECK(read_out(*stream) == "born\n");
}

TEST_CASE("links, pipes and directories in the log's place are not read") {
  Log log;
  const auto error_of = [&] {
    const auto stream = LogStream::open({.path = log.path}, log.clock);
    return stream ? std::string() : stream.error().message;
  };
  std::ofstream(log.dir.file("secret")) << "secret\n";
  std::filesystem::create_symlink(log.dir.file("secret"), log.path);
  CHECK(error_of().find("opening") == 0);
  std::filesystem::remove(log.path);
  REQUIRE(::mkfifo(log.path.c_str(), 0600) == 0);
  CHECK(error_of().find("is not a regular file") != std::string::npos);
  std::filesystem::remove(log.path);
  std::filesystem::create_directory(log.path);
  CHECK(error_of().find("is not a regular file") != std::string::npos);
}
