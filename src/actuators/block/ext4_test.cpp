// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/ext4.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>

#include "actuators/block/directory_blocks.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/testing.hpp"

namespace banger::actuators::block {
namespace {

constexpr Ext4Options kOptions{
    .size = mib(64), .label = "data", .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .made = 1'700'000'000};

std::string block_of(const std::filesystem::path& image) {
  return testing::read(image).substr(kSuperblockOffset, kSuperblockSize);
}

}  // namespace

TEST_CASE("an empty file system is clean, sparse, and says what it is") {
  const testing::Directory directory;
  for (const auto size : {mib(1), mib(4), mib(8), mib(64), mib(129), mib(512), gib(3), gib(40)}) {
    CAPTURE(size.value);
    const auto image = directory.path() / "a.img";
    testing::write(image, "");
    auto options = kOptions;
    options.size = size;
    REQUIRE(make_empty_ext4(image, options).has_value());
    CHECK(testing::is_clean(image));
    const auto facts = read_ext4_facts(image);
    REQUIRE((facts && *facts));
    // libext2fs leaves off a last group that would be too small for its own tables.
    CHECK((*facts)->size == (size == mib(129) ? mib(128) : size));
    CHECK((*facts)->block_size == 4096);
    CHECK((*facts)->label == "data");
    CHECK((*facts)->uuid == "01020304-0506-0708-090a-0b0c0d0e0f10");
    CHECK((*facts)->has_journal == (size >= mib(8)));
    CHECK((*facts)->can_grow_online);
    struct stat info{};
    REQUIRE(::stat(image.c_str(), &info) == 0);
    CHECK(info.st_blocks * 512 < 8 << 20);
    std::filesystem::remove(image);
  }
}

TEST_CASE("the features are those of Debian's mke2fs, and the descriptors leave room to grow a thousandfold") {
  const testing::Directory directory;
  const auto image = directory.path() / "a.img";
  testing::write(image, "");
  REQUIRE(make_empty_ext4(image, kOptions).has_value());
  if (!testing::is_installed("dumpe2fs")) return;
  const auto said = testing::run_program({"dumpe2fs", "-h", image.native()}).output;
  CAPTURE(said);
  CHECK(said.find("has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file "
                  "dir_nlink extra_isize metadata_csum\n") != std::string::npos);
  CHECK(said.find("Default mount options:    user_xattr acl\n") != std::string::npos);
  CHECK(said.find("Filesystem created:       Tue Nov 14") != std::string::npos);
  CHECK(said.find("Reserved GDT blocks:      7\n") != std::string::npos);  // 64 descriptors of 128 MiB each: 64 GiB
  CHECK(said.find("Flex block group size:    16\n") != std::string::npos);
  CHECK(said.find("Required extra isize:     32\n") != std::string::npos);
  CHECK(said.find("Default directory hash:   half_md4\n") != std::string::npos);
  CHECK(said.find("Checksum type:            crc32c\n") != std::string::npos);
  CHECK(said.find("Total journal size:       4096k\n") != std::string::npos);
}

TEST_CASE("the same options give the same bytes") {
  const testing::Directory directory;
  std::string first;
  for (const char* name : {"a.img", "b.img"}) {
    const auto image = directory.path() / name;
    testing::write(image, "");
    REQUIRE(make_empty_ext4(image, kOptions).has_value());
    if (first.empty()) first = testing::read(image);
    CHECK((testing::read(image) == first));
  }
}

TEST_CASE("a size that is too small or a label that is too long is refused in a sentence") {
  const testing::Directory directory;
  const auto image = directory.path() / "a.img";
  testing::write(image, "");
  auto options = kOptions;
  options.size = kib(512);
  auto made = make_empty_ext4(image, options);
  REQUIRE_FALSE(made);
  CHECK(made.error().code == ErrorCode::Invalid);
  CHECK(made.error().message ==
        image.native() + ": 524288 bytes are too few for an ext4 file system, at least 1048576 are needed");
  options = kOptions;
  options.label = "seventeen letters";
  CHECK(make_empty_ext4(image, options).error().code == ErrorCode::Invalid);
}

TEST_CASE("a superblock that no kernel would mount is none") {
  const testing::Directory directory;
  const auto image = directory.path() / "a.img";
  testing::write(image, "");
  REQUIRE(make_empty_ext4(image, kOptions).has_value());
  const auto good = block_of(image);
  REQUIRE(decode_superblock(good));
  const auto with = [&](std::size_t at, const std::string& bytes) { return std::string(good).replace(at, bytes.size(), bytes); };
  CHECK_FALSE(decode_superblock(""));
  CHECK_FALSE(decode_superblock(good.substr(1)));
  CHECK_FALSE(decode_superblock(std::string(1024, '\0')));
  CHECK_FALSE(decode_superblock(with(0x38, "\x53\xEE")));                       // magic
  CHECK_FALSE(decode_superblock(with(0x18, std::string("\x07\0\0\0", 4))));     // blocks of 128 KiB
  CHECK_FALSE(decode_superblock(with(0x18, std::string("\xFF\xFF\xFF\xFF"))));  // a shift beyond all widths
  CHECK_FALSE(decode_superblock(with(0x4, std::string(4, '\0'))));              // no blocks
  CHECK_FALSE(decode_superblock(with(0x150, "\xFF\xFF\xFF\xFF")));              // more than there can be
  CHECK_FALSE(decode_superblock(with(0x60, std::string("\x08\0\0\0", 4))));     // a journal device
  CHECK(decode_superblock(with(0x78, "a\x1B[2J"))->label == "a\\x1b[2J");
}

TEST_CASE("directories fill their blocks up to the checksum") {
  std::vector<Ext4Name> names;
  for (int i = 0; i < 1000; ++i)
    names.push_back({"n" + std::to_string(i) + std::string(static_cast<std::size_t>(i % 250), 'x'), 12, S_IFREG});
  const auto blocks = directory_blocks(2, 2, names, 4096);
  std::size_t seen = 0;
  for (const auto& block : blocks) {
    REQUIRE(block.size() == 4096);
    std::size_t at = 0;
    while (at < 4084) {
      const auto length = static_cast<unsigned char>(block[at + 4]) + 256U * static_cast<unsigned char>(block[at + 5]);
      REQUIRE(length >= 12);
      CHECK(length % 4 == 0);
      ++seen;
      at += length;
    }
    CHECK(at == 4084);
  }
  CHECK(seen == names.size() + 2);
}

}  // namespace banger::actuators::block
