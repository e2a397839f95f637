// SPDX-License-Identifier: Apache-2.0
// Quantities, times and the formats of texts.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "api/codec.hpp"
#include "api/formats.hpp"
#include "api/time.hpp"
#include "api/tree.hpp"

namespace banger::api {
namespace {

using schema::Format;
using schema::problem_with;

TEST_CASE("quantities are exact") {
  const std::vector<std::pair<std::string, std::uint64_t>> table{
      {"0", 0},
      {"1", 1},
      {"1000", 1000},
      {"0001000", 1000},
      {"1k", 1000},
      {"1Ki", 1024},
      {"512Mi", 512ULL << 20U},
      {"1.5Gi", 1536ULL << 20U},
      {"1.50Gi", 1536ULL << 20U},
      {"0.5Ki", 512},
      {"0.001k", 1},
      {"4G", 4'000'000'000},
      {"1.000000001G", 1'000'000'001},
      {"2.5T", 2'500'000'000'000},
      {"1P", 1'000'000'000'000'000},
      {"1E", 1'000'000'000'000'000'000},
      {"1Pi", 1ULL << 50U},
      {"7Ei", 7ULL << 60U},
      {"1.0", 1},
      {"9223372036854775807", 9223372036854775807ULL},
  };
  for (const auto& [text, bytes] : table) {
    CAPTURE(text);
    const auto parsed = parse_quantity(text);
    REQUIRE(parsed.has_value());
    CHECK(parsed->value == bytes);
  }
}

TEST_CASE("what is not a size in whole bytes is refused with a sentence") {
  const std::vector<std::pair<std::string, std::string>> table{
      {"", "must be a size such as 512Mi, 1.5Gi or 4G, is \"\""},
      {"-1", "must be a size such as 512Mi, 1.5Gi or 4G, is \"-1\""},
      {"+1", "must be a size such as 512Mi, 1.5Gi or 4G, is \"+1\""},
      {" 1", "must be a size such as 512Mi, 1.5Gi or 4G, is \" 1\""},
      {"Gi", "must be a size such as 512Mi, 1.5Gi or 4G, is \"Gi\""},
      {".5Gi", "must be a size such as 512Mi, 1.5Gi or 4G, is \".5Gi\""},
      {"1.", "must be a size such as 512Mi, 1.5Gi or 4G, is \"1.\""},
      {"1.Gi", "must be a size such as 512Mi, 1.5Gi or 4G, is \"1.Gi\""},
      {"1.5", "must be a whole number of bytes, is \"1.5\"; a suffix such as Mi or Gi may be missing"},
      {"0.0001k", "must be a whole number of bytes, is \"0.0001k\"; a suffix such as Mi or Gi may be missing"},
      {"0.00000000000000000001Ei",
       "must be a whole number of bytes, is \"0.00000000000000000001Ei\"; a suffix such as Mi or Gi may be missing"},
      {"0.1Ei", "must be a whole number of bytes, is \"0.1Ei\"; a suffix such as Mi or Gi may be missing"},
      {"1m", "must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is \"1m\""},
      {"1K", "must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is \"1K\""},
      {"1GB", "must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is \"1GB\""},
      {"1 Gi", "must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is \"1 Gi\""},
      {"1.2.3", "must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is \"1.2.3\""},
      {"0x10", "must be a size with one of the suffixes Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, is \"0x10\""},
      {"8Ei", "must be less than 8Ei, is \"8Ei\""},
      {"9223372036854775808", "must be less than 8Ei, is \"9223372036854775808\""},
      {"99999999999999999999999999", "must be less than 8Ei, is \"99999999999999999999999999\""},
  };
  for (const auto& [text, message] : table) {
    CAPTURE(text);
    const auto parsed = parse_quantity(text);
    REQUIRE_FALSE(parsed.has_value());
    CHECK(parsed.error().message == message);
    CHECK(parsed.error().code == ErrorCode::Invalid);
  }
}

TEST_CASE("sizes are written with the largest binary suffix that divides them, and read back") {
  CHECK(format_quantity({0}) == "0");
  CHECK(format_quantity({1000}) == "1000");
  CHECK(format_quantity(kib(1)) == "1Ki");
  CHECK(format_quantity(gib(1)) == "1Gi");
  CHECK(format_quantity(mib(1536)) == "1536Mi");
  CHECK(format_quantity(gib(1024)) == "1Ti");
  CHECK(format_quantity({(1ULL << 30U) + 1}) == "1073741825");
  for (unsigned shift = 0; shift < 63; ++shift) {
    for (const std::uint64_t off : {0ULL, 1ULL}) {
      const Bytes size{(1ULL << shift) - off};
      const auto parsed = parse_quantity(format_quantity(size));
      REQUIRE(parsed.has_value());
      CHECK(*parsed == size);
    }
  }
}

TEST_CASE("times are written as Kubernetes writes them and read in every form of RFC 3339") {
  using std::chrono::milliseconds;
  const WallTime time{milliseconds{1'800'000'000'000}};
  CHECK(format_time(time) == "2027-01-15T08:00:00Z");
  CHECK(format_time(WallTime{milliseconds{-1}}) == "1969-12-31T23:59:59Z");
  CHECK(format_time(time + milliseconds{999}) == "2027-01-15T08:00:00Z");
  CHECK(format_time_exact(time) == "2027-01-15T08:00:00Z");
  CHECK(format_time_exact(time + milliseconds{7}) == "2027-01-15T08:00:00.007Z");
  CHECK(parse_time("2027-01-15T08:00:00Z") == time);
  CHECK(parse_time("2027-01-15t08:00:00z") == time);
  CHECK(parse_time("2027-01-15T10:30:00+02:30") == time);
  CHECK(parse_time("2027-01-15T07:00:00-01:00") == time);
  CHECK(parse_time("2027-01-15T08:00:00.007Z") == time + milliseconds{7});
  CHECK(parse_time("2027-01-15T08:00:00.0079999Z") == time + milliseconds{7});
  CHECK(parse_time("2027-01-15T07:59:60Z") == time);
  CHECK(parse_time("2024-02-29T00:00:00Z").has_value());
  CHECK(parse_time("1969-12-31T23:59:59.999Z") == WallTime{milliseconds{-1}});
}

TEST_CASE("what is not a time is not read as one") {
  for (const char* text :
       {"", "2027", "2027-01-15", "2027-01-15T08:00:00", "2027-01-15 08:00:00Z", "2027-02-29T00:00:00Z", "2027-13-01T00:00:00Z",
        "2027-01-15T24:00:00Z", "2027-01-15T08:60:00Z", "2027-01-15T08:00:61Z", "2027-01-15T08:00:00.Z", "2027-01-15T08:00:00Zx",
        "2027-01-15T08:00:00+2:00", "+027-01-15T08:00:00Z", "2027-01-15T08:00:00.1234567890Z"}) {
    CAPTURE(std::string(text));
    CHECK_FALSE(parse_time(text).has_value());
  }
}

TEST_CASE("paths are absolute and say nothing twice") {
  for (const char* path : {"/", "/a", "/a/b c", "/..a", "/a...", "/é"}) CHECK_FALSE(problem_with(Format::AbsolutePath, path));
  for (const char* path : {"", "a", "./a", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/..", "/.", "/a\nb", "/a\x7f", "~/a"}) {
    CAPTURE(std::string(path));
    CHECK(problem_with(Format::AbsolutePath, path));
  }
  CHECK(problem_with(Format::AbsolutePath, "/" + std::string(4095, 'a')));
  CHECK(problem_with(Format::AbsolutePath, std::string("/a\0b", 4)));
}

TEST_CASE("public keys are single lines of known types, without options") {
  const std::string key = "AAAAC3NzaC1lZDI1NTE5AAAAIHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0";
  for (const char* type : {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com"}) {
    CHECK_FALSE(problem_with(Format::PublicKey, type + (" " + key)));
    CHECK_FALSE(problem_with(Format::PublicKey, type + (" " + key + " a comment")));
  }
  const std::vector<std::string> refused{std::string{},
                                         key,
                                         "ssh-ed25519",
                                         "ssh-ed25519 ",
                                         "rsa " + key,
                                         "ssh-ed25519  " + key,
                                         "ssh-ed25519 " + key + "\n",
                                         "ssh-ed25519 AAAA%%%%AAAAAAAA",
                                         "from=\"*\" ssh-ed25519 " + key,
                                         "-----BEGIN OPENSSH PRIVATE KEY-----"};
  for (const auto& line : refused) {
    CAPTURE(std::string(line));
    CHECK(problem_with(Format::PublicKey, line));
  }
}

TEST_CASE("names of links, users and disks are what the kernel and the guest take") {
  CHECK_FALSE(problem_with(Format::LinkName, "br-lan.100_x"));
  for (const char* name : {"", ".", "..", "a/b", "sixteen-letters-", "a b", "a:b", "ä"})
    CHECK(problem_with(Format::LinkName, name));
  CHECK_FALSE(problem_with(Format::UserName, "_apt-x9"));
  for (const char* name : {"", "9a", "-a", "Root", "a.b", "a b", "a:b", "a\n"}) CHECK(problem_with(Format::UserName, name));
  CHECK_FALSE(problem_with(Format::DiskName, "twenty-characters-20"));
  for (const char* name : {"", "root", "twenty-one-characters", "a_b", "-a", "a-", "a.b"})
    CHECK(problem_with(Format::DiskName, name));
}

TEST_CASE("networks have their host bits clear and a size that leases can use") {
  for (const char* cidr : {"10.0.0.0/8", "10.63.0.0/24", "192.168.0.8/29"}) CHECK_FALSE(problem_with(Format::NetworkCidr, cidr));
  for (const char* cidr : {"", "10.0.0.0", "10.0.0.0/7", "10.0.0.0/30", "10.0.0.1/24", "10.0.0.0/024", "fd00::/64"}) {
    CAPTURE(std::string(cidr));
    CHECK(problem_with(Format::NetworkCidr, cidr));
  }
}

TEST_CASE("label keys and values have the syntax of Kubernetes") {
  using schema::problem_with_label_key;
  using schema::problem_with_label_value;
  for (const char* key : {"app", "a.b_c-d", "example.com/app", "A"}) CHECK_FALSE(problem_with_label_key(key));
  for (const char* key : {"", "/app", "example.com/", "Example.com/a", "a/b/c", "-a", "a-", "a b"})
    CHECK(problem_with_label_key(key));
  CHECK(problem_with_label_key(std::string(64, 'a')));
  CHECK_FALSE(problem_with_label_key(std::string(253, 'a').replace(63, 1, ".").replace(127, 1, ".").replace(191, 1, ".") + "/x"));
  for (const char* value : {"", "web", "1.2", "A_b"}) CHECK_FALSE(problem_with_label_value(value));
  for (const char* value : {"-", ".a", "a ", "a/b", "é"}) CHECK(problem_with_label_value(value));
  CHECK(problem_with_label_value(std::string(64, 'a')));
}

TEST_CASE("file modes are octal and say so") {
  CHECK(schema::parse_mode("0644") == 0644);
  CHECK(schema::parse_mode("0o644") == 0644);
  CHECK(schema::parse_mode("0") == std::nullopt);
  CHECK(schema::parse_mode("00") == 0);
  CHECK(schema::parse_mode("04755") == 04755);
  for (const char* text : {"", "644", "0x1ff", "0o", "0888", "-0644", "0644 ", "000000000644"}) {
    CAPTURE(std::string(text));
    CHECK_FALSE(schema::parse_mode(text).has_value());
  }
  for (std::int64_t mode = 0; mode <= 07777; ++mode) CHECK(schema::parse_mode(schema::format_mode(mode)) == mode);
}

TEST_CASE("bytes that are not valid UTF-8 are found where they stand") {
  using schema::find_bad_byte;
  CHECK_FALSE(find_bad_byte("plain\tä€😀\r\n"));
  const std::vector<std::pair<std::string, std::size_t>> table{{std::string("ab\0", 3), 2},
                                                               {"a\x04", 1},
                                                               {"\x7f", 0},
                                                               {"\x80", 0},
                                                               {"\xc0\xaf", 0},
                                                               {"\xc3", 0},
                                                               {"\xe0\x80\xaf", 0},
                                                               {"x\xed\xa0\x80", 1},
                                                               {"\xf0\x80\x80\x80", 0},
                                                               {"\xf4\x90\x80\x80", 0},
                                                               {"\xff", 0},
                                                               {"\xe2\x82", 0},
                                                               {"\xf8\x88\x80\x80\x80", 0}};
  for (const auto& [text, offset] : table) {
    const auto bad = find_bad_byte(text);
    REQUIRE(bad);
    CHECK(bad->offset == offset);
  }
  CHECK(schema::valid_utf8("a\xff\xe2\x82z") == "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}

}  // namespace
}  // namespace banger::api
