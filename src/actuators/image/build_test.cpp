// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/build.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iostream>
#include <map>
#include <string>
#include <utility>

#include "actuators/block/ext4.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/testing.hpp"
#include "actuators/image/digest.hpp"
#include "actuators/image/tar_maker.hpp"
#include "base/random.hpp"
#include "base/testing.hpp"

namespace banger::actuators::image {
namespace {

using testing::tar_entry;
using testing::TarEntry;

const std::string kUid = "0123abcd-0123-4567-89ab-0123456789ab";

struct Fixture {
  testing::Directory directory;
  Layout layout{directory.path() / "state", directory.path() / "run"};
  BuildImage job{.image_uid = kUid, .spec = {.path = directory.path() / "source"}};

  Result<BuiltImage> build(const std::string& source) {
    testing::write(job.spec.path, source);
    auto text = run(job, layout, {});
    if (!text) return fail(std::move(text).error());
    return decode_built_image(*text);
  }
  [[nodiscard]] std::size_t files() const {
    std::size_t count = 0;
    std::error_code absent;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(image_dir(layout, kUid), absent)) ++count;
    return count;
  }
};

std::string sample() {
  const std::string capability("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  return tar_entry({.name = "./", .type = '5', .mode = 0755}) +
         tar_entry({.name = "./etc/", .type = '5', .mode = 0750, .uid = 5, .gid = 6}) +
         tar_entry({.name = "./etc/passwd", .content = "root:x:0:0::/root:/bin/sh\n", .mode = 0600, .uid = 70000, .gid = 70001}) +
         tar_entry({.name = "etc/again", .type = '1', .link = "./etc/passwd"}) +
         tar_entry({.name = "fast", .type = '2', .link = std::string(59, 'f'), .mode = 0777}) +
         tar_entry({.name = "slow", .type = '2', .link = std::string(60, 's'), .mode = 0777}) +
         tar_entry({.name = "long", .type = '2', .mode = 0777, .pax = {{"linkpath", std::string(3000, 'l')}}}) +
         tar_entry({.name = "dev/null", .type = '3', .mode = 0666, .device_major = 1, .device_minor = 3}) +
         tar_entry({.name = "dev/big", .type = '4', .mode = 0660, .device_major = 259, .device_minor = 70000}) +
         tar_entry({.name = "dev/pipe", .type = '6', .mode = 0600}) +
         tar_entry(
             {.name = "bin/ping", .content = "ELF", .mode = 04755, .pax = {{"SCHILY.xattr.security.capability", capability}}}) +
         tar_entry({.name = "x",
                    .content = "u",
                    .pax = {{"path",
                             "gr\xC3\xBC\xC3\x9F"
                             "e/\xE2\x82\xAC"},
                            {"mtime", "-5.25"}}}) +
         tar_entry({.name = "empty"}) + tar_entry({.name = "big", .content = std::string(3'000'001, 'b')}) +
         tar_entry({.name = "holes", .content = std::string(1 << 20, '\0') + "end"}) + testing::tar_end();
}

}  // namespace

TEST_CASE("a tar file becomes a clean ext4 file system that holds what the tar holds") {
  Fixture f;
  const auto built = f.build(sample());
  REQUIRE(built);
  CHECK(built->format == "tar");
  CHECK(built->size == mib(64));
  CHECK(built->digest == "sha256:" + hex(sha256(sample())));
  CHECK(built->path == (image_dir(f.layout, kUid) / ("base-" + hex(sha256(sample())) + ".ext4")).native());
  CHECK(std::filesystem::file_size(built->path) == mib(64).value);
  CHECK(testing::is_clean(built->path));
  struct stat info{};
  REQUIRE(::stat(built->path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0444);
  CHECK(info.st_blocks * 512 < 12 << 20);
  auto files = testing::read_image(built->path);
  CHECK(files.size() == 19);
  CHECK(files["etc"].mode == (S_IFDIR | 0750));
  CHECK(files["etc"].uid == 5);
  CHECK(files["etc/passwd"].content == "root:x:0:0::/root:/bin/sh\n");
  CHECK(files["etc/passwd"].mode == (S_IFREG | 0600));
  CHECK(files["etc/passwd"].uid == 70000);
  CHECK(files["etc/passwd"].gid == 70001);
  CHECK(files["etc/passwd"].mtime == 1'600'000'000);
  CHECK(files["etc/passwd"].links == 2);
  CHECK(files["etc/again"] == files["etc/passwd"]);
  CHECK(files["fast"].content == std::string(59, 'f'));
  CHECK(files["slow"].content == std::string(60, 's'));
  CHECK(files["long"].content == std::string(3000, 'l'));
  CHECK(files["dev/null"].mode == (S_IFCHR | 0666));
  CHECK(files["dev/null"].device == 0x103);
  CHECK(files["dev/big"].mode == (S_IFBLK | 0660));
  CHECK(files["dev/big"].device == ((70000U & 0xFFU) | (259U << 8U) | ((70000U & ~0xFFU) << 12U)));
  CHECK(files["dev/pipe"].mode == (S_IFIFO | 0600));
  CHECK(files["bin/ping"].mode == (S_IFREG | 04755));
  CHECK(files["bin/ping"].attributes.at("security.capability").size() == 20);
  CHECK(files["bin/ping"].attributes.at("security.capability")[5] == '\x20');
  CHECK(files["gr\xC3\xBC\xC3\x9F"
              "e/\xE2\x82\xAC"]
            .content == "u");
  CHECK(files["gr\xC3\xBC\xC3\x9F"
              "e/\xE2\x82\xAC"]
            .mtime < 0);
  CHECK(files["empty"].size == 0);
  CHECK(files["big"].size == 3'000'001);
  CHECK(files["holes"].size == (1 << 20) + 3);
  CHECK(files["holes"].blocks == 8);
  CHECK(files["lost+found"].mode == (S_IFDIR | 0700));
  CHECK(testing::debugfs(built->path, "cat /etc/passwd").find("root:x:0:0::/root:/bin/sh\n") != std::string::npos);
}

TEST_CASE("the same source gives the same bytes, packed or not, and another image uid another uuid") {
  Fixture f;
  const auto first = f.build(sample());
  REQUIRE(first);
  const auto bytes = testing::read(first->path);
  std::filesystem::remove(first->path);
  REQUIRE(f.build(sample()));
  CHECK((testing::read(first->path) == bytes));
  const auto files = testing::read_image(first->path);
  for (const char* filter : {"gzip", "xz", "zstd"}) {
    CAPTURE(filter);
    const auto source = testing::packed(sample(), filter);
    CHECK(source.size() < sample().size() / 4);
    const auto built = f.build(source);
    REQUIRE(built);
    CHECK(built->digest == "sha256:" + hex(sha256(source)));
    CHECK((testing::read_image(built->path) == files));
  }
  Fixture other;
  other.job.image_uid = "0123abcd-0123-4567-89ab-000000000000";
  const auto foreign = other.build(sample());
  REQUIRE(foreign);
  CHECK((testing::read(foreign->path) != bytes));
}

TEST_CASE("a build that is there already is kept; another size makes it anew") {
  Fixture f;
  const auto first = f.build(sample());
  REQUIRE(first);
  struct stat before{};
  struct stat after{};
  REQUIRE(::stat(first->path.c_str(), &before) == 0);
  REQUIRE(f.build(sample()));
  REQUIRE(::stat(first->path.c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);
  // A longer disk made it longer by a hole meanwhile.
  std::filesystem::resize_file(first->path, gib(1).value);
  const auto again = f.build(sample());
  REQUIRE(again);
  CHECK(*again == *first);
  REQUIRE(::stat(first->path.c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);
  f.job.spec.size = mib(100);
  const auto larger = f.build(sample());
  REQUIRE(larger);
  CHECK(larger->path == first->path);
  CHECK(std::filesystem::file_size(larger->path) == mib(100).value);
  CHECK(testing::is_clean(larger->path));
  CHECK(f.files() == 1);
}

TEST_CASE("a source that is refused is refused in a sentence, and nothing is kept") {
  Fixture f;
  const auto refuse = [&](const std::string& source, const std::string& part) {
    CAPTURE(part);
    const auto built = f.build(source);
    REQUIRE_FALSE(built);
    CHECK(built.error().code == ErrorCode::Invalid);
    CAPTURE(built.error().message);
    CHECK(built.error().message.find(part) != std::string::npos);
    CHECK(built.error().message.starts_with("building image from " + f.job.spec.path));
    CHECK(f.files() == 0);
  };
  refuse("", "Unrecognized archive format (a tar file, plain");
  refuse("hello, this is no archive", "(a tar file, plain or compressed with gzip, xz or zstd, was expected)");
  refuse(testing::tar_end(), "holds no files");
  refuse(sample().substr(0, 5000), "damaged");
  refuse(testing::packed(sample(), "zstd").substr(0, 200), "was expected)");
  refuse(tar_entry({.name = "../x"}) + testing::tar_end(), "entry 1 \"../x\": its name holds \"..\"");
  refuse(tar_entry({.name = "x", .pax = {{"path", "a\nb"}}}) + testing::tar_end(), "control character");
  refuse(tar_entry({.name = "x", .type = '2', .link = "/etc"}) + tar_entry({.name = "x/shadow", .content = "y"}) +
             testing::tar_end(),
         "leads nowhere");
  refuse(testing::packed(tar_entry({.name = "bomb", .content = std::string(64 << 20, '\0')}) + testing::tar_end(), "zstd"),
         "more than 200 times its size");
  refuse("QFI\xFB" + std::string(4096, 'x'), "it is a qcow2 image");
  refuse(std::string(510, '\0') + "\x55\xAA" + std::string(4096, '\0'), "disk with partitions");
  f.job.spec.digest = "sha256:" + std::string(64, '0');
  refuse(sample(), "but spec.digest says sha256:0000");
  f.job.spec.digest = "";
  f.job.spec.size = mib(2);
  refuse(sample(), "spec.size 2097152: ");
  f.job.spec.size = {};
  f.job.spec.format = api::ImageFormat::Raw;
  refuse(sample(), "spec.format is raw, but it is not an ext4 file system");
  f.job.spec.path = f.directory.path() / "absent";
  CHECK(run(f.job, f.layout, {}).error().code == ErrorCode::NotFound);
  f.job.spec.path = f.directory.path();
  CHECK(run(f.job, f.layout, {}).error().code == ErrorCode::Invalid);
}

TEST_CASE("a build that is told to stop leaves nothing") {
  Fixture f;
  testing::write(f.job.spec.path, sample());
  std::stop_source stop;
  stop.request_stop();
  const auto built = run(f.job, f.layout, stop.get_token());
  REQUIRE_FALSE(built);
  CHECK(built.error().code == ErrorCode::Unavailable);
  CHECK(f.files() == 0);
}

TEST_CASE("a host without room left says so and keeps nothing") {
  if (::geteuid() != 0 || !banger::testing::enter_private_mounts()) {
    std::cerr << "SKIPPED: only root can make a small disk (tmpfs) to fill\n";
    return;
  }
  Fixture f;
  std::filesystem::create_directories(f.layout.state_dir);
  REQUIRE(::mount("small", f.layout.state_dir.c_str(), "tmpfs", 0, "size=24m") == 0);
  std::string tar;
  for (int i = 0; i < 40; ++i) tar += tar_entry({.name = fmt::format("f{}", i), .content = std::string(1 << 20, 'x')});
  testing::write(f.job.spec.path, tar + testing::tar_end());
  const auto built = run(f.job, f.layout, {});
  REQUIRE_FALSE(built);
  CAPTURE(built.error().message);
  CHECK(built.error().code == ErrorCode::Unavailable);
  CHECK(built.error().message.find("No space left on device (ENOSPC)") != std::string::npos);
  CHECK(f.files() == 0);
  f.job.spec.path = f.directory.path() / "raw";
  testing::write(f.job.spec.path, "");
  REQUIRE(block::make_empty_ext4(f.job.spec.path, {.size = mib(40)}));
  std::string raw = testing::read(f.job.spec.path);
  for (std::size_t i = 0; i < raw.size(); i += 4096) raw[i] = raw[i] == 0 ? 'x' : raw[i];
  testing::write(f.job.spec.path, raw.substr(0, 1024) + testing::read(f.job.spec.path).substr(1024, 1024) + raw.substr(2048));
  const auto copied = run(f.job, f.layout, {});
  REQUIRE_FALSE(copied);
  CAPTURE(copied.error().message);
  CHECK(copied.error().code == ErrorCode::Unavailable);
  CHECK(f.files() == 0);
  REQUIRE(::umount(f.layout.state_dir.c_str()) == 0);
}

TEST_CASE("an ext4 file is taken as it is, once its superblock was looked at") {
  Fixture f;
  testing::write(f.job.spec.path, "");
  REQUIRE(block::make_empty_ext4(f.job.spec.path, {.size = mib(32), .label = "mine"}));
  const auto source = testing::read(f.job.spec.path);
  f.job.spec.digest = "sha256:" + hex(sha256(source));
  const auto built = f.build(source);
  REQUIRE(built);
  CHECK(built->format == "raw");
  CHECK(built->size == mib(32));
  CHECK((testing::read(built->path) == source));
  CHECK(testing::is_clean(built->path));
  CHECK(f.build(source) == built);
  CHECK(f.files() == 1);
  f.job.spec.digest = "sha256:" + std::string(64, 'f');
  CHECK(f.build(source).error().message.find("but spec.digest says") != std::string::npos);
  f.job.spec.digest = "";
  CHECK(f.build(source.substr(0, 1 << 20)).error().message.find("it was cut off") != std::string::npos);
  f.job.spec.size = mib(64);
  CHECK(f.build(source).error().message.find("rootDisk.size grows a file system") != std::string::npos);
  CHECK(f.files() == 1);
}

TEST_CASE("random trees are read back as they were packed") {
  SeededRandom random(20240601);
  const auto number = [&](std::uint64_t below) {
    std::array<std::uint8_t, 4> bytes{};
    random.fill(bytes);
    return ((std::uint64_t{bytes[0]} << 24U) | (std::uint64_t{bytes[1]} << 16U) | (std::uint64_t{bytes[2]} << 8U) | bytes[3]) %
           below;
  };
  for (int round = 0; round < 8; ++round) {
    CAPTURE(round);
    std::string tar;
    std::map<std::string, std::pair<char, std::string>> expected;  // path: type, content or target
    std::vector<std::string> directories{""};
    std::vector<std::string> regular;
    for (int i = 0; i < 400; ++i) {
      const auto& parent = directories[number(directories.size())];
      const auto path = parent + fmt::format("{}-{}", std::string(1 + number(60), static_cast<char>('a' + number(26))), i);
      const auto kind = number(10);
      if (kind < 2 && parent.size() < 1000) {
        tar += tar_entry({.name = "d", .type = '5', .mode = 0755, .pax = {{"path", path + "/"}}});
        expected[path] = {'d', ""};
        directories.push_back(path + "/");
      } else if (kind == 2) {
        const std::string target(1 + number(200), 't');
        tar += tar_entry({.name = "l", .type = '2', .pax = {{"path", path}, {"linkpath", target}}});
        expected[path] = {'l', target};
      } else if (kind == 3 && !regular.empty()) {
        const auto& other = regular[number(regular.size())];
        tar += tar_entry({.name = "h", .type = '1', .pax = {{"path", path}, {"linkpath", other}}});
        expected[path] = expected[other];
      } else {
        std::string content(number(20000), '\0');
        for (auto& c : content) c = static_cast<char>(number(4) == 0 ? number(256) : 0);
        if (kind == 9) content.insert(0, 9000, '\0');
        tar += tar_entry({.name = "f", .content = content, .pax = {{"path", path}}});
        expected[path] = {'f', content};
        regular.push_back(path);
      }
    }
    Fixture f;
    const auto built = f.build(tar + testing::tar_end());
    const auto refusal = built ? std::string() : built.error().message;
    CAPTURE(refusal);
    REQUIRE(built);
    CHECK(testing::is_clean(built->path));
    auto files = testing::read_image(built->path);
    CHECK(files.size() == expected.size() + 2);
    for (const auto& [path, what] : expected) {
      const auto& [type, content] = what;
      const auto mode = files[path].mode & S_IFMT;
      const bool same = (mode == (type == 'd' ? S_IFDIR : type == 'l' ? S_IFLNK : S_IFREG)) && files[path].content == content;
      CAPTURE(path);
      REQUIRE(same);
    }
  }
}

TEST_CASE("a directory with thousands of names is clean, and its names are all there") {
  Fixture f;
  std::string tar;
  for (int i = 0; i < 5000; ++i) tar += tar_entry({.name = fmt::format("many/file-with-a-rather-long-name-{}", i)});
  for (int i = 0; i < 300; ++i) tar += tar_entry({.name = fmt::format("dirs/{}/", i), .type = '5', .mode = 0755});
  const auto built = f.build(tar + testing::tar_end());
  REQUIRE(built);
  CHECK(testing::is_clean(built->path));
  const auto files = testing::read_image(built->path);
  CHECK(files.size() == 5000 + 300 + 4);
  CHECK(files.at("dirs").links == 302);
}

}  // namespace banger::actuators::image
