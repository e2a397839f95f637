// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/tree.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

namespace banger::actuators::image {
namespace {

Entry file(std::string path, std::int64_t size = 1) { return {.path = std::move(path), .mode = 0644, .size = size}; }
Entry directory(std::string path) { return {.path = std::move(path), .type = FileType::Directory, .mode = 0755}; }
Entry symlink(std::string path, std::string target) {
  return {.path = std::move(path), .type = FileType::Symlink, .mode = 0777, .target = std::move(target)};
}
Entry hardlink(std::string path, std::string target) {
  return {.path = std::move(path), .type = FileType::Hardlink, .target = std::move(target)};
}

// All live names of the tree, "dir/" with a slash, sorted by depth-first walk; hard links show their node's link count.
void list(const Tree& tree, NodeIndex at, const std::string& path, std::vector<std::string>& out) {
  for (const auto& [name, child] : tree.nodes()[at].children) {
    const auto& node = tree.nodes()[child];
    const bool is_directory = S_ISDIR(node.inode.mode);
    if (at == 0 && name == "lost+found" && node.children.empty()) continue;
    out.push_back(path + name + (is_directory ? "/" : "") + (S_ISLNK(node.inode.mode) ? "@" : ""));
    if (is_directory) list(tree, child, path + name + "/", out);
  }
}

std::vector<std::string> names(const Tree& tree) {
  std::vector<std::string> out;
  list(tree, 0, "", out);
  return out;
}

struct Case {
  std::vector<Entry> entries;
  std::string refusal;  // a part of the message; the last entry is refused
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("entries make the tree that tar would make") {
  Tree tree(0);
  for (const auto& entry :
       {directory("./"), directory("./etc"), file("./etc/passwd"), file("/usr//lib/./a"), symlink("lib", "usr/lib"),
        file("lib/b"), hardlink("c", "./lib/b"), hardlink("/d", "/c"), symlink("abs", "/usr/lib/"), file("abs/e"),
        symlink("up", "../../usr"), file("up/f"), file("etc/passwd", 5)}) {
    CAPTURE(entry.path);
    REQUIRE(tree.add(entry));
  }
  CHECK(names(tree) == Names{"abs@", "c", "d", "etc/", "etc/passwd", "lib@", "up@", "usr/", "usr/f", "usr/lib/", "usr/lib/a",
                             "usr/lib/b", "usr/lib/e"});
  CHECK(tree.content() == Bytes{9});
  const auto c = tree.nodes()[0].children.at("c");
  CHECK(tree.nodes()[c].inode.links == 3);
  CHECK(tree.nodes()[0].inode.links == 5);  // ".", "..", etc, usr, lost+found
}

TEST_CASE("a later entry replaces a file, refreshes a directory, and a replaced hard link keeps its other names") {
  Tree tree(0);
  for (const auto& entry : {file("a", 10), hardlink("b", "a"), file("a", 20), directory("d"), file("d/x"), directory("d/"),
                            symlink("s", "d"), directory("s"), file("s/y"), hardlink("b", "b")}) {
    CAPTURE(entry.path);
    REQUIRE(tree.add(entry));
  }
  CHECK(names(tree) == Names{"a", "b", "d/", "d/x", "s/", "s/y"});
  CHECK(tree.content() == Bytes{32});
  CHECK(tree.nodes()[tree.nodes()[0].children.at("b")].inode.links == 1);
  REQUIRE(tree.add(file("b", 0)));
  CHECK(tree.content() == Bytes{22});
}

TEST_CASE("hostile entries are refused, each with a sentence") {
  const std::string long_name(256, 'n');
  std::string deep;
  for (int i = 0; i < 300; ++i) deep += "d/";
  std::vector<Entry> loop{symlink("l", "m"), symlink("m", "l"), file("l/x")};
  std::vector<Entry> chain{directory("real")};
  for (int i = 0; i < 60; ++i) chain.push_back(symlink("c" + std::to_string(i), i == 0 ? "real" : "c" + std::to_string(i - 1)));
  chain.push_back(file("c59/x"));
  auto owner = file("a");
  owner.uid = -1;
  auto group = file("a");
  group.gid = std::int64_t{1} << 32U;
  auto nobody = file("a");
  nobody.uid = 0xFFFFFFFF;
  Entry device{.path = "dev", .type = FileType::BlockDevice, .device_major = 5000};
  Entry minor{.path = "dev", .type = FileType::CharDevice, .device_minor = 1 << 20};
  auto attributes = file("a");
  attributes.attributes = {{"user.x", std::string(4000, 'x')}};
  const std::vector<Case> cases{
      {{file("../etc/passwd")}, "\"..\""},
      {{file("a/../../b")}, "\"..\""},
      {{file("a/..")}, "\"..\""},
      {{directory("..")}, "\"..\""},
      {{file("/../x")}, "\"..\""},
      {{file(std::string("a\0b", 3))}, "control character"},
      {{file("a\nb")}, "control character"},
      {{file("a\x1b[2Jb")}, "control character"},
      {{file("a\x7f")}, "control character"},
      {{file(long_name)}, "longer than 255 bytes"},
      {{file("a/" + long_name + "/b")}, "longer than 255 bytes"},
      {{file(std::string(5000, '/') + "x")}, "longer than 4095 bytes"},
      {{file(deep + "x")}, "deeper than 256"},
      {{file("")}, "root must be a directory"},
      {{file("./")}, "root must be a directory"},
      {{symlink("/", "x")}, "root must be a directory"},
      {{file("a"), file("a/b")}, "is a file, not a directory"},
      {{symlink("s", "f"), file("f"), file("s/b")}, "is a file, not a directory"},
      {{symlink("s", "nowhere"), file("s/b")}, "leads nowhere"},
      {{symlink("s", "/etc"), file("s/shadow")}, "leads nowhere"},
      {{symlink("s", "../../../../tmp"), file("s/x")}, "leads nowhere"},
      {loop, "too many symbolic links"},
      {chain, "too many symbolic links"},
      {{symlink("s", "s"), file("s/x")}, "too many symbolic links"},
      {{symlink("s", "")}, "its target must have 1 to 4095 bytes"},
      {{symlink("s", std::string(4096, 't'))}, "its target must have 1 to 4095 bytes"},
      {{directory("d"), file("d")}, "a directory of that name is there already"},
      {{directory("d"), symlink("d", "/")}, "a directory of that name is there already"},
      {{file("f"), directory("d"), hardlink("d", "f")}, "a directory of that name is there already"},
      {{hardlink("h", "f"), file("f")}, "does not come before it"},
      {{hardlink("h", "/etc/passwd")}, "leads nowhere"},
      {{hardlink("h", "../../etc/passwd")}, "a name that no file can have"},
      {{hardlink("h", "")}, "a name that no file can have"},
      {{symlink("s", "../.."), hardlink("h", "s/etc/passwd")}, "leads nowhere"},
      {{directory("d"), hardlink("h", "d")}, "hard link to a directory"},
      {{hardlink("h", "h")}, "does not come before it"},
      {{hardlink("h", "lost+found")}, "hard link to a directory"},
      {{file("lost+found")}, "a directory of that name is there already"},
      {{owner}, "is not a user and group number"},
      {{group}, "is not a user and group number"},
      {{nobody}, "is not a user and group number"},
      {{device}, "device number 5000:0 is out of range"},
      {{minor}, "device number 0:1048576 is out of range"},
      {{file("a", -1)}, "its length -1 is out of range"},
      {{file("a", std::int64_t{21} << 30U)}, "is out of range"},
      {{file("a", std::int64_t{15} << 30U), file("b", std::int64_t{15} << 30U)}, "longer than 21474836480 bytes together"},
      {{attributes}, "extended attributes take more than 3500 bytes"},
  };
  for (const auto& [entries, refusal] : cases) {
    CAPTURE(refusal);
    CAPTURE(entries.back().path);
    Tree tree(0);
    Result<void> last;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (!last) break;
      last = tree.add(entries[i]);
    }
    // In the one case where the order is the point, the first of two entries is the one that is refused.
    REQUIRE_FALSE(last.has_value());
    CHECK(last.error().code == ErrorCode::Invalid);
    CAPTURE(last.error().message);
    CHECK(last.error().message.find(refusal) != std::string::npos);
    CHECK(last.error().message.starts_with("entry "));
    for (const char c : last.error().message) CHECK(static_cast<unsigned char>(c) >= 0x20);
  }
  CHECK(cases.size() >= 30);
}

TEST_CASE("there may be only so many files and names of one file") {
  Limits limits;
  limits.entries = 10;
  limits.links = 3;
  Tree tree(0, limits);
  REQUIRE(tree.add(file("a")));
  REQUIRE(tree.add(hardlink("b", "a")));
  REQUIRE(tree.add(hardlink("c", "a")));
  CHECK(tree.add(hardlink("d", "a")).error().message == "entry 4 \"d\": a file has more than 3 names");
  Tree many(0, limits);
  Result<void> added;
  for (int i = 0; i < 20 && added; ++i) added = many.add(file("f" + std::to_string(i)));
  REQUIRE_FALSE(added);
  CHECK(added.error().message == "entry 9 \"f8\": there are more than 10 files");
  Tree implied(0, limits);
  CHECK(implied.add(file("a/b/c/d/e/f/g/h/i/j")).error().message.ends_with("there are more than 10 files"));
}

}  // namespace banger::actuators::image
