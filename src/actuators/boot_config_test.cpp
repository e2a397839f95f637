// SPDX-License-Identifier: Apache-2.0
#include "actuators/boot_config.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <set>

namespace banger::actuators {
namespace {

// banger-init's own test reads the same file and expects these values.
GuestConfig sample() {
  return {.hostname = "web",
          .nics = {{.mac = "02:11:22:33:44:55", .address = "10.1.2.3/24", .gateway = "10.1.2.1"},
                   {.mac = "12:11:22:33:44:55", .address = "10.9.0.7/16", .gateway = ""}},
          .nameservers = {"10.1.2.1", "9.9.9.9"},
          .mounts = {{.disk = "data", .path = "/srv/my data"}, {.disk = "spare", .path = ""}},
          .ssh_user = "root",
          .authorized_keys = {"ssh-ed25519 AAAA you@host"},
          .files = {{.path = "/etc/motd", .content = "hello\n", .mode = 0644},
                    {.path = "/opt/100%/\xC3\xBC\n", .content = "", .mode = 04755},
                    {.path = "/dash", .content = "x", .mode = 0}}};
}

}  // namespace

TEST_CASE("the configuration is written as testdata/guest_config/sample says") {
  std::ifstream in(BANGER_TESTDATA "/guest_config/sample", std::ios::binary);
  const std::string golden{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  CHECK(boot_config_text(sample()) == golden);
}

TEST_CASE("a field that is a dash is not taken for an empty one") {
  CHECK(boot_config_text({.hostname = "-"}).ends_with("\nhostname %2D\n"));
  CHECK(boot_config_text({.hostname = ""}).ends_with("\nhostname -\n"));
}

TEST_CASE("without an SSH user no key is handed over") {
  auto config = sample();
  config.ssh_user = "";
  CHECK(boot_config_text(config).find("\nkey ") == std::string::npos);
  CHECK(boot_config_text(config).find("\nuser ") == std::string::npos);
}

TEST_CASE("the hash tells every change apart") {
  std::set<std::string> seen{boot_config_hash(sample(), "/k/initrd-1"), boot_config_hash(sample(), "/k/initrd-2")};
  const auto changed = [&](auto change) {
    auto config = sample();
    change(config);
    const auto hash = boot_config_hash(config, "/k/initrd-1");
    CHECK(hash.size() == 64);
    CHECK(seen.insert(hash).second);
  };
  changed([](GuestConfig& c) { c.hostname = "web2"; });
  changed([](GuestConfig& c) { c.nics[0].address = "10.1.2.4/24"; });
  changed([](GuestConfig& c) { c.nameservers.pop_back(); });
  changed([](GuestConfig& c) { c.mounts[0].path = "/srv"; });
  changed([](GuestConfig& c) { c.authorized_keys.emplace_back("ssh-ed25519 BBBB"); });
  changed([](GuestConfig& c) { c.files[0].content = "hello"; });
  changed([](GuestConfig& c) { c.files[0].mode = 0600; });
  CHECK(boot_config_hash(sample(), "/k/initrd-1") == boot_config_hash(sample(), "/k/initrd-1"));
}

}  // namespace banger::actuators
