// SPDX-License-Identifier: Apache-2.0
#include "actuators/sidecar.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <chrono>

namespace banger::actuators {
namespace {

constexpr auto kVmUid = "0b6e7a52-6c1f-4f0e-9d0a-3f1f6f4f2a11";

Sidecar full() {
  Sidecar sidecar;
  sidecar.uid = kVmUid;
  sidecar.ns = "default";
  sidecar.name = "web";
  sidecar.generation = 7;
  sidecar.launched_spec.cpus = 2;
  sidecar.launched_spec.image = "demo";
  sidecar.launched_spec.memory = mib(768);
  sidecar.launched_spec.root_disk.size = gib(1);
  sidecar.launched_spec.disks = {{.name = "data", .size = mib(5), .mount_path = "/data"}};
  sidecar.launched_spec.network_interfaces = {{.network = "lan", .address = "10.1.2.3"}};
  sidecar.launched_spec.ssh.emplace();
  sidecar.launched_spec.files = {{.path = "/etc/motd", .content = "a\nb\t\"c\"\n", .mode = 04755}};
  sidecar.nics = {{.network = "lan",
                   .network_uid = kVmUid,
                   .tap = "bgrabcdefghij-0",
                   .mac = "02:00:00:00:00:01",
                   .address = "10.1.2.3/24",
                   .gateway = "10.1.2.1",
                   .tap_index = 42,
                   .mtu = 9000,
                   .nameservers = {"192.0.2.53"}}};
  sidecar.kernel = KernelRecord{.path = "/boot/vmlinuz", .initrd = "/v/initrd", .args = {"quiet", "a b"}};
  sidecar.image_digest = "sha256:00";
  sidecar.root_backend = "reflink";
  sidecar.disk_names = {"data"};
  sidecar.boot_id = "b";
  sidecar.launches = 1ULL << 40U;
  sidecar.launched = WallTime{std::chrono::milliseconds{1'800'000'000'123}};
  sidecar.sync_nonce = "3:abcdef";
  sidecar.ended = "Crashed";
  sidecar.restarts = 5;
  sidecar.failures = 2;
  sidecar.restart_after = WallTime{std::chrono::seconds{1'800'000'002}};
  return sidecar;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string message_for(std::string_view text) {
  const auto decoded = decode_sidecar(text);
  REQUIRE_FALSE(decoded.has_value());
  CHECK(decoded.error().code == ErrorCode::Invalid);
  return decoded.error().message;
}

TEST_CASE("a sidecar comes back as it was written") {
  CHECK(decode_sidecar(encode_sidecar(full())) == full());
  Sidecar empty;
  empty.uid = kVmUid;
  CHECK(decode_sidecar(encode_sidecar(empty)) == empty);
  CHECK(encode_sidecar(full()) == encode_sidecar(full()));
}

TEST_CASE("a VM without interfaces stays one without interfaces") {
  auto sidecar = full();
  sidecar.launched_spec.network_interfaces.clear();
  const auto decoded = decode_sidecar(encode_sidecar(sidecar));
  REQUIRE(decoded.has_value());
  CHECK(decoded->launched_spec.network_interfaces.empty());
}

TEST_CASE("fields of a newer version are ignored") {
  const auto text = replaced(encode_sidecar(full()), "\"launches\"", "\"color\":{\"x\":[1]},\"launches\"");
  CHECK(decode_sidecar(text) == full());
}

TEST_CASE("a sidecar that is not ours is refused with a sentence") {
  const auto text = encode_sidecar(full());
  CHECK(message_for(replaced(text, "\"format\":1", "\"format\":2")) == "vm.json has format 2, this program reads format 1");
  CHECK(message_for(replaced(text, "\"format\":1,", "")) == "vm.json has format 0, this program reads format 1");
  CHECK(message_for(replaced(text, "\"format\":1", "\"format\":4294967297")) ==
        "vm.json cannot be read: format: must be between 0 and 4294967295, is 4294967297");
  CHECK(message_for(replaced(text, "\"uid\":\"0b6e", "\"uid\":\"../../0b6e")) ==
        "vm.json has no valid uid, but \"../../0b6e7a52-6c1f-4f0e-9d0a-3f1f6f4f2a11\"");
  CHECK(message_for(replaced(text, "\"cpus\":2", "\"cpus\":\"two\"")) ==
        "vm.json cannot be read: launchedSpec.cpus: must be a whole number, is the text \"two\"");
  CHECK(message_for("[]") == "vm.json cannot be read: must be a map, is a list");
  auto other = full();
  other.meta.uid = "0b6e7a52-6c1f-4f0e-9d0a-3f1f6f4f2a12";
  other.meta.name = other.name;
  other.meta.ns = other.ns;
  CHECK(message_for(encode_sidecar(other)) ==
        fmt::format("vm.json contradicts itself: it is of {0} {1}/{2}, and its object is {3} {1}/{2}", other.uid, other.ns,
                    other.name, other.meta.uid));
  other.meta.uid = other.uid;
  CHECK(decode_sidecar(encode_sidecar(other)));
  other.meta.name = "another";
  CHECK_FALSE(decode_sidecar(encode_sidecar(other)));
}

TEST_CASE("a sidecar cut off anywhere is refused, never half read") {
  auto text = encode_sidecar(full());
  text.pop_back();  // the line end is not part of the value
  for (std::size_t length = 0; length < text.size(); ++length) CHECK_FALSE(decode_sidecar(text.substr(0, length)).has_value());
  CHECK_FALSE(decode_sidecar(text + "x").has_value());
  CHECK_FALSE(decode_sidecar(std::string(64, '\0')).has_value());
}

}  // namespace
}  // namespace banger::actuators
