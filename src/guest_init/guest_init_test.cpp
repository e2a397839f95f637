// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "guest_init/config.hpp"
#include "guest_init/texts.hpp"

namespace banger::guest_init {
namespace {

const std::string kFirst = "banger-guest 1\n";

std::string refusal(const std::string& text) {
  std::string reason;
  return parse_config(text, reason) ? "accepted" : reason;
}

}  // namespace

TEST_CASE("the configuration that the host writes is understood") {
  std::ifstream in(BANGER_TESTDATA "/guest_config/sample", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::string reason;
  const auto config = parse_config(text, reason);
  CAPTURE(reason);
  REQUIRE(config);
  CHECK(*config == Config{.hostname = "web",
                          .nameservers = {"10.1.2.1", "9.9.9.9"},
                          .nics = {{.mac = "02:11:22:33:44:55", .address = 0x0A010203, .prefix = 24, .gateway = 0x0A010201},
                                   {.mac = "12:11:22:33:44:55", .address = 0x0A090007, .prefix = 16, .gateway = 0}},
                          .mounts = {{.disk = "spare", .path = ""}, {.disk = "data", .path = "/srv/my data"}},
                          .user = "root",
                          .keys = {"ssh-ed25519 AAAA you@host"},
                          .files = {{.number = 0, .mode = 0644, .path = "/etc/motd"},
                                    {.number = 1, .mode = 04755, .path = "/opt/100%/\xC3\xBC\n"},
                                    {.number = 2, .mode = 0, .path = "/dash"}}});
}

TEST_CASE("lines that are not understood are named") {
  CHECK(refusal("") == "line 1: \"banger-guest 1\" was expected");
  CHECK(refusal("banger-guest 2\n") == "line 1: \"banger-guest 1\" was expected");
  CHECK(refusal(kFirst) == "accepted");
  CHECK(refusal(kFirst + "\nhostname web") == "accepted");
  CHECK(refusal(kFirst + "hostnam web\n") == "line 2: a keyword that is not known");
  CHECK(refusal(kFirst + "\n\nhostname\n") == "line 4: hostname takes 1 fields");
  CHECK(refusal(kFirst + "hostname a b\n") == "line 2: hostname takes 1 fields");
  CHECK(refusal(kFirst + "hostname a%2\n") == "line 2: hostname has a field that is not encoded as it should");
  CHECK(refusal(kFirst + "hostname a%\n") == "line 2: hostname has a field that is not encoded as it should");
  CHECK(refusal(kFirst + "hostname a%2g\n") == "line 2: hostname has a field that is not encoded as it should");
  CHECK(refusal(kFirst + "hostname a%61\n") == "accepted");
  for (const char* line : {"hostname -",
                           "hostname a/b",
                           "hostname a%0Ab",
                           "nameserver 1.2.3",
                           "nameserver 1.2.3.256",
                           "nameserver -",
                           "nameserver 1.2.3.4.5",
                           "nic 02 10.0.0.1/24 -",
                           "nic 02:11:22:33:44:55 10.0.0.1 -",
                           "nic 02:11:22:33:44:55 10.0.0.1/33 -",
                           "nic 02:11:22:33:44:55 10.0.0.1/24 x",
                           "mount - /a",
                           "mount a b",
                           "mount a /",
                           "mount a /x%00y",
                           "user -",
                           "user a:b",
                           "key -",
                           "key a%0Ab",
                           "key a%00",
                           "file x 0644 /a",
                           "file 0 0999 /a",
                           "file 0 17777 /a",
                           "file 0 0644 a",
                           "file 0 0644 /a/",
                           "file 99999999999 0644 /a"}) {
    CAPTURE(line);
    const std::string keyword(line, std::string(line).find(' '));
    CHECK(refusal(kFirst + line + "\n") == "line 2: " + keyword + " has a field that does not fit");
  }
}

TEST_CASE("any text at all is read to an end") {
  const std::string good = kFirst + "hostname web\nnic 02:11:22:33:44:55 10.1.2.3/24 -\nfile 0 0644 /etc/%41\n";
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'\0', '%', ' ', '\n', '-', '9', '\xFF'}) {
      auto text = good;
      text[i] = c;
      CHECK_FALSE(refusal(text).empty());
      CHECK_FALSE(refusal(text.substr(0, i)).empty());
    }
  }
}

TEST_CASE("modules are taken in their order, without paths") {
  CHECK(parse_module_order("virtio.ko\n\n../evil.ko\nvirtio_blk.ko") == std::vector<std::string>{"virtio.ko", "virtio_blk.ko"});
  CHECK(parse_module_order("").empty());
}

TEST_CASE("the last init= of the command line counts") {
  CHECK(init_of("console=ttyS0 init=/bin/a quiet init=/bin/b\n") == "/bin/b");
  CHECK(init_of("rdinit=/x quiet\n").empty());
  CHECK(init_of("init=relative").empty());
  CHECK(init_of("").empty());
}

TEST_CASE("accounts are found by their whole name") {
  const std::string passwd =
      "root:x:0:0:root:/root:/bin/sh\nbroken\nme2:x:5:5::/m2:\nme:x:1000:1001:,,,:/home/me:/bin/sh\nodd:x:-1:0::/"
      ":\nnohome:x:1:1:::\n";
  CHECK(find_account(passwd, "me") == Account{.uid = 1000, .gid = 1001, .home = "/home/me"});
  CHECK(find_account(passwd, "root") == Account{.uid = 0, .gid = 0, .home = "/root"});
  for (const char* user : {"m", "odd", "nohome", "broken", "", "x"}) CHECK_FALSE(find_account(passwd, user));
}

TEST_CASE("authorized keys are added once, and what others wrote stays") {
  const std::string ours = "# banger: begin\na\nb\n# banger: end\n";
  CHECK(with_keys("", {"a", "b"}) == ours);
  CHECK(with_keys("mine", {"a", "b"}) == "mine\n" + ours);
  CHECK(with_keys("mine\n" + ours, {"a", "b"}) == "mine\n" + ours);
  CHECK(with_keys("mine\n" + ours + "late\n", {"c", "mine", "c"}) == "mine\nlate\n# banger: begin\nc\n# banger: end\n");
  CHECK(with_keys("a\n", {"a"}) == "a\n");
  CHECK(with_keys(ours, {}).empty());
}

TEST_CASE("the hosts file gets one line of ours") {
  CHECK(with_host("", "web") == "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tweb\t# banger\n");
  CHECK(with_host("127.0.0.1 localhost\n127.0.1.1\told\t# banger\n10.0.0.1 x", "web") ==
        "127.0.0.1 localhost\n10.0.0.1 x\n127.0.1.1\tweb\t# banger\n");
  CHECK(with_host(with_host("", "a"), "b") == with_host("", "b"));
  CHECK(resolv_conf({"1.1.1.1"}) == "# written by banger-init at every boot\nnameserver 1.1.1.1\n");
}

}  // namespace banger::guest_init
