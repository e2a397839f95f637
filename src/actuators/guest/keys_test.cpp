// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/keys.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "actuators/guest/key_forms.hpp"
#include "actuators/guest/test_support.hpp"
#include "base/files.hpp"

using namespace banger;
using namespace banger::actuators::guest;

TEST_CASE("the public half of a known seed is what RFC 8032 says (test 1)") {
  const std::array<std::uint8_t, 32> seed{0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a,
                                          0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
                                          0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
  const auto key = key_from_seed(seed, "rfc");
  REQUIRE(key);
  CHECK(key->public_key[0] == 0xd7);
  CHECK(key->public_key[1] == 0x5a);
  CHECK(key->public_key[31] == 0x1a);
  CHECK(write_openssh_public(*key) == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea rfc\n");
  const auto dropbear = write_dropbear_private(*key);
  CHECK(dropbear.size() == 4 + 11 + 4 + 64);
  CHECK(dropbear.substr(0, 19) == std::string("\0\0\0\x0bssh-ed25519\0\0\0\x40", 19));
}

TEST_CASE("what is written is read back") {
  SeededRandom random(7);
  for (const auto* comment : {"", "a", "banger client", "seven!!", "a comment of some length"}) {
    const auto pair = generate_key(random, comment);
    REQUIRE(pair);
    const auto key = read_openssh_private(pair->openssh_private);
    REQUIRE(key);
    CHECK(key->comment == comment);
    CHECK(write_openssh_public(*key) == pair->openssh_public);
    CHECK(write_dropbear_private(*key) == pair->dropbear_private);
  }
  CHECK_FALSE(generate_key(random, "two\nlines"));
}

TEST_CASE("a damaged or foreign private key is refused with what is wrong") {
  SeededRandom random(8);
  const auto text = generate_key(random, "x").value().openssh_private;
  CHECK(read_openssh_private("").error().message.starts_with("expected an OpenSSH private key"));
  CHECK(read_openssh_private("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n").error().code == ErrorCode::Invalid);
  const auto body = text.find('\n') + 1;
  // Every truncation and every changed character is refused or at least never crashes the reader.
  for (std::size_t cut = 0; cut + 5 < text.size(); cut += 3) CHECK_FALSE(read_openssh_private(text.substr(0, cut)));
  for (std::size_t at = body; at < text.size(); ++at) {
    auto changed = text;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    (void)read_openssh_private(changed);
  }
  const std::string with_passphrase = [] {
    std::string blob("openssh-key-v1\0", 15);
    const auto put = [&](std::string_view s) {
      blob += std::string("\0\0\0", 3);
      blob.push_back(static_cast<char>(s.size()));
      blob += s;
    };
    put("aes256-ctr");
    put("bcrypt");
    put("opts");
    blob += std::string("\0\0\0\1", 4);
    return "-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64(blob) + "\n-----END OPENSSH PRIVATE KEY-----\n";
  }();
  CHECK(read_openssh_private(with_passphrase).error().message == "the private key has a passphrase; expected one without");
}

TEST_CASE("base64 is exact both ways") {
  for (const std::string bytes : {"", "f", "fo", "foo", "foob", "fooba", "foobar"}) CHECK(base64_decode(base64(bytes)) == bytes);
  CHECK(base64("foob") == "Zm9vYg==");
  for (const auto* bad : {"Zg=", "Zg", "Z===", "Zm9v Zm9v", "Zm9\n", "=m9v", "Zm=v"}) CHECK_FALSE(base64_decode(bad));
}

TEST_CASE("a key is made once, private to its owner, and kept") {
  const TempDir dir;
  SystemRandom random;
  const auto path = dir.path() / "ssh" / "id_ed25519";
  CHECK(load_key(path).error().code == ErrorCode::NotFound);
  const auto first = ensure_key(path, random, "banger");
  REQUIRE(first);
  struct stat info{};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0600);
  REQUIRE(::stat(path.parent_path().c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0700);
  CHECK(read_file(path.native() + ".pub", kib(1)).value() == first->openssh_public);

  std::filesystem::remove(path.native() + ".pub");
  const auto second = ensure_key(path, random, "another comment");
  REQUIRE(second);
  CHECK(second->openssh_private == first->openssh_private);
  CHECK(second->openssh_public == first->openssh_public);
  CHECK(std::filesystem::exists(path.native() + ".pub"));
}

TEST_CASE("a broken key file is named and never replaced") {
  const TempDir dir;
  SystemRandom random;
  const auto path = dir.path() / "key";
  REQUIRE(write_file_durably(path, "", 0600));
  const auto result = ensure_key(path, random, "x");
  REQUIRE_FALSE(result);
  CHECK(result.error().message.starts_with("loading SSH key " + path.native() + ": expected an OpenSSH private key"));
  CHECK(std::filesystem::file_size(path) == 0);
}

TEST_CASE("threads that ask for the same new key get the same one") {
  const TempDir dir;
  std::vector<std::string> seen(4);
  {
    std::vector<std::jthread> threads;
    for (auto& slot : seen) {
      threads.emplace_back([&dir, &slot] {
        SystemRandom random;
        slot = ensure_key(dir.path() / "key", random, "x").value().openssh_private;
      });
    }
  }
  for (const auto& text : seen) CHECK(text == seen.front());
}

TEST_CASE("ssh-keygen derives the same public key") {
  if (skip_without("ssh-keygen")) return;
  const TempDir dir;
  SystemRandom random;
  const auto key = ensure_key(dir.path() / "key", random, "from banger").value();
  const auto output = run_program({"ssh-keygen", "-y", "-f", (dir.path() / "key").native()});
  CHECK(output.exit_code == 0);
  CHECK(output.text == key.openssh_public);
}

TEST_CASE("dropbearkey reads the dropbear form as the same key") {
  if (skip_without("dropbearkey")) return;
  const TempDir dir;
  SystemRandom random;
  const auto key = generate_key(random, "x").value();
  REQUIRE(write_file_durably(dir.path() / "host", key.dropbear_private, 0600));
  const auto output = run_program({"dropbearkey", "-y", "-f", (dir.path() / "host").native()});
  CHECK(output.exit_code == 0);
  const auto words = key.openssh_public.substr(0, key.openssh_public.find(' ', 12));  // type and blob
  CHECK_MESSAGE(output.text.find(words + " ") != std::string::npos, output.text);
}

TEST_CASE("dropbearconvert turns the openssh form into our dropbear form") {
  if (skip_without("dropbearconvert")) return;
  const TempDir dir;
  SystemRandom random;
  const auto key = ensure_key(dir.path() / "key", random, "x").value();
  const auto output =
      run_program({"dropbearconvert", "openssh", "dropbear", (dir.path() / "key").native(), (dir.path() / "converted").native()});
  CHECK_MESSAGE(output.exit_code == 0, output.text);
  CHECK(read_file(dir.path() / "converted", kib(1)).value() == key.dropbear_private);
}
