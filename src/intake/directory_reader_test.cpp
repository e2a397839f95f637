// SPDX-License-Identifier: Apache-2.0
#include "intake/directory_reader.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "intake/bench_test.hpp"

namespace banger::intake {
namespace {

namespace fs = std::filesystem;

struct Scene {
  ScratchDirectory scratch;
  const fs::path root = scratch.path() / "d";
  Scene() { fs::create_directory(root); }

  Contents list() {
    auto reader = DirectoryReader::open(root.native());
    REQUIRE(reader);
    auto contents = reader->list({});
    REQUIRE_MESSAGE(contents, (contents ? "" : contents.error().message));
    return *contents;
  }
  std::vector<std::string> names() {
    std::vector<std::string> out;
    for (const auto& entry : list().entries) out.push_back(entry.file);
    return out;
  }
  std::string problem(const std::string& file) {
    for (const auto& entry : list().entries) {
      if (entry.file == file) return entry.problem;
    }
    return "(not listed)";
  }
};

TEST_CASE("manifests are found in sub-directories, in order; everything else is not looked at") {
  Scene scene;
  fs::create_directories(scene.root / "b" / "c");
  fs::create_directories(scene.root / ".git");
  for (const auto* name : {"z.yaml", "a.yml", "j.json", "b/x.yaml", "b/c/y.yaml", "README.md", "noext", ".hidden.yaml",
                           ".a.yaml.swp", "a.yaml~", "#a.yaml#", "4913", "a.yaml.tmp", ".git/x.yaml", "b/.#x.yaml"}) {
    write_text(scene.root / name, "");
  }
  CHECK(scene.names() == std::vector<std::string>{"a.yml", "b/c/y.yaml", "b/x.yaml", "j.json", "z.yaml"});
}

TEST_CASE("what is not a plain file of ours is named and refused, and nothing blocks") {
  Scene scene;
  write_text(scene.scratch.path() / "outside.yaml", "secret");
  fs::create_symlink(scene.scratch.path() / "outside.yaml", scene.root / "link.yaml");
  fs::create_symlink(scene.scratch.path(), scene.root / "linked");
  fs::create_symlink("/dev/zero", scene.root / "zero.yaml");
  REQUIRE(::mkfifo((scene.root / "pipe.yaml").c_str(), 0600) == 0);
  fs::create_directory(scene.root / "dir.yaml");
  write_text(scene.root / "dir.yaml" / "inside.yaml", "");
  write_text(scene.root / "hard.yaml", "x");
  fs::create_hard_link(scene.root / "hard.yaml", scene.scratch.path() / "second-name");
  write_text(scene.root / "open.yaml", "x");
  fs::permissions(scene.root / "open.yaml", fs::perms(0666));
  write_text(scene.root / "full.yaml", std::string(kMaxFileSize, '#'));
  write_text(scene.root / "huge.yaml", std::string(kMaxFileSize + 1, '#'));
  write_text(scene.root / "bad\xff.yaml", "x");
  write_text(scene.root / "esc\x1b[2J.yaml", "x");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto socket_path = (scene.root / "sock.yaml").native();
  REQUIRE(socket_path.size() < sizeof(address.sun_path));
  std::strcpy(address.sun_path, socket_path.c_str());
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);

  CHECK(scene.problem("link.yaml") == "is a symbolic link; links are not followed, put the file itself here");
  CHECK(scene.problem("linked") == "is a symbolic link; links are not followed, put the file itself here");
  CHECK(scene.problem("zero.yaml") == "is a symbolic link; links are not followed, put the file itself here");
  CHECK(scene.problem("pipe.yaml") == "is a FIFO, expected a regular file");
  CHECK(scene.problem("sock.yaml") == "is a socket, expected a regular file");
  CHECK(scene.problem("dir.yaml") == "is a directory; a directory's name must not look like a manifest's");
  CHECK(scene.problem("hard.yaml") == "has 2 hard links, expected one; copy the file instead");
  CHECK(scene.problem("open.yaml") == "may be written by everyone (mode 0666), expected chmod o-w");
  CHECK(scene.problem("full.yaml") == "");
  CHECK(scene.problem("huge.yaml") == "is 131073 bytes long, expected at most 131072 (128 KiB)");
  CHECK(scene.problem("bad\\xff.yaml") == "has bytes in its name that are not printable UTF-8");
  CHECK(scene.problem("esc\\x1b[2J.yaml") == "has bytes in its name that are not printable UTF-8");
  CHECK(scene.names().size() == 12);
}

TEST_CASE("a device with a manifest's name is refused") {
  Scene scene;
  const auto path = scene.root / "null.yaml";
  if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) {
    MESSAGE("skipped: making a device node is not permitted here");
    return;
  }
  CHECK(scene.problem("null.yaml") == "is a device, expected a regular file");
}

TEST_CASE("directories nested too deep are named, not entered") {
  Scene scene;
  fs::path path = scene.root;
  std::string relative;
  for (std::size_t depth = 1; depth <= kMaxDepth + 1; ++depth) {
    path /= "d";
    relative += "d/";
    fs::create_directory(path);
    write_text(path / "m.yaml", "");
  }
  CHECK(scene.names().size() == kMaxDepth + 1);
  CHECK(scene.problem(relative) == "is nested more than 8 directories deep");
  CHECK(scene.list().unreadable == std::vector{relative.substr(0, relative.size() - 1)});
}

TEST_CASE("files and directories without permission are named, the others are read") {
  Scene scene;
  fs::create_directory(scene.root / "closed");
  write_text(scene.root / "closed" / "x.yaml", "x");
  write_text(scene.root / "mine.yaml", "x");
  write_text(scene.root / "theirs.yaml", "y");
  fs::permissions(scene.root / "closed", fs::perms(0));
  fs::permissions(scene.root / "theirs.yaml", fs::perms(0));
  fs::permissions(scene.scratch.path(), fs::perms(0755));
  const auto look = [&] {
    auto reader = DirectoryReader::open(scene.root.native());
    REQUIRE(reader);
    const auto contents = reader->list({});
    REQUIRE(contents);
    REQUIRE(contents->entries.size() == 3);
    CHECK(contents->entries[0].file == "closed/");
    CHECK(contents->entries[0].problem == "cannot be read: opening: Permission denied (EACCES)");
    CHECK(contents->unreadable == std::vector<std::string>{"closed"});
    CHECK(reader->read(contents->entries[1]) == "x");
    const auto theirs = reader->read(contents->entries[2]);
    REQUIRE_FALSE(theirs);
    CHECK(theirs.error().code == ErrorCode::Denied);
    CHECK(theirs.error().message == "cannot be read: opening: Permission denied (EACCES)");
  };
  if (::geteuid() == 0) {
    const AsNobody nobody;
    look();
  } else {
    look();
  }
  fs::permissions(scene.root / "closed", fs::perms(0700));
}

TEST_CASE("a file that is another one by the time it is read is not taken") {
  Scene scene;
  write_text(scene.root / "a.yaml", "old");
  auto reader = DirectoryReader::open(scene.root.native());
  REQUIRE(reader);
  const auto entry = reader->list({})->entries.at(0);
  CHECK(reader->read(entry) == "old");
  const auto busy = [&] {
    const auto text = reader->read(entry);
    return !text && text.error().code == ErrorCode::Busy;
  };
  write_text(scene.root / "a.yaml", "longer");
  CHECK(busy());
  fs::remove(scene.root / "a.yaml");
  CHECK(busy());
  write_text(scene.scratch.path() / "outside", "old");
  fs::create_symlink(scene.scratch.path() / "outside", scene.root / "a.yaml");
  CHECK(busy());
  fs::remove(scene.root / "a.yaml");
  REQUIRE(::mkfifo((scene.root / "a.yaml").c_str(), 0600) == 0);
  CHECK(busy());
}

TEST_CASE("a directory on the way that became a link is not followed") {
  Scene scene;
  fs::create_directory(scene.root / "sub");
  write_text(scene.root / "sub" / "a.yaml", "mine");
  auto reader = DirectoryReader::open(scene.root.native());
  REQUIRE(reader);
  const auto entry = reader->list({})->entries.at(0);
  fs::rename(scene.root / "sub", scene.scratch.path() / "moved");
  fs::create_symlink(scene.scratch.path() / "moved", scene.root / "sub");
  const auto text = reader->read(entry);
  REQUIRE_FALSE(text);
  CHECK(text.error().code == ErrorCode::Busy);
}

TEST_CASE("a directory that was replaced while it was read is no listing") {
  Scene scene;
  write_text(scene.root / "a.yaml", "x");
  auto reader = DirectoryReader::open(scene.root.native());
  REQUIRE(reader);
  fs::rename(scene.root, scene.scratch.path() / "moved");
  CHECK_FALSE(reader->list({}));
  fs::create_directory(scene.root);
  const auto listed = reader->list({});
  REQUIRE_FALSE(listed);
  CHECK(listed.error().code == ErrorCode::NotFound);
}

}  // namespace
}  // namespace banger::intake
