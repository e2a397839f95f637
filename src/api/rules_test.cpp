// SPDX-License-Identifier: Apache-2.0
// validate(): what relates fields, and what may become of an old object.
#include <doctest/doctest.h>

#include "api/codec.hpp"

namespace banger::api {
namespace {

Object vm() {
  VirtualMachine machine;
  machine.spec.image = "demo";
  machine.spec.root_disk.size = gib(2);
  machine.spec.disks = {{.name = "data", .size = gib(1), .mount_path = "/data"}, {.name = "logs", .size = mib(64)}};
  machine.spec.network_interfaces = {{}};
  return {.meta = {.name = "web", .ns = "default"}, .body = std::move(machine)};
}

VirtualMachineSpec& spec_of(Object& object) { return std::get<VirtualMachine>(object.body).spec; }

Object network(NetworkSpec spec) { return {.meta = {.name = "lan"}, .body = Network{.spec = std::move(spec)}}; }

std::string rule_messages(const std::vector<Refusal>& refusals) {
  std::string text;
  for (const auto& refusal : refusals) text += to_string(refusal, "") + "\n";
  return text;
}

std::string changed(const Object& old, const Object& now) { return rule_messages(validate(now, &old)); }

TEST_CASE("a good object has nothing wrong with it") {
  const auto object = vm();
  CHECK(validate(object, nullptr).empty());
  CHECK(validate(object, &object).empty());
}

TEST_CASE("values that a program sets are checked as those that a person writes") {
  auto object = vm();
  object.meta.ns = "";
  spec_of(object).cpus = 0;
  spec_of(object).image = "";
  spec_of(object).disks[1].name = "data";
  spec_of(object).disks[1].mount_path = "/data";
  CHECK(rule_messages(validate(object, nullptr)) ==
        "metadata.namespace: must be at most 63 of the characters a-z, 0-9 and '-', without '-' at either end, is \"\"\n"
        "spec.cpus: must be between 1 and 32, is 0\n"
        "spec.image: is required\n"
        "spec.disks[1].name: \"data\" is already the name of spec.disks[0]\n"
        "spec.disks[1].mountPath: \"/data\" is already the mountPath of spec.disks[0]\n");
}

TEST_CASE("disks may grow, be added and be taken away") {
  const auto old = vm();
  auto now = vm();
  spec_of(now).root_disk.size = gib(3);
  spec_of(now).disks[0].size = gib(2);
  spec_of(now).disks.push_back({.name = "more", .size = mib(1)});
  CHECK(changed(old, now).empty());
  spec_of(now).disks.erase(spec_of(now).disks.begin());
  CHECK(changed(old, now).empty());
}

TEST_CASE("no disk shrinks") {
  const auto old = vm();
  auto now = vm();
  spec_of(now).root_disk.size = gib(1);
  std::swap(spec_of(now).disks[0], spec_of(now).disks[1]);
  spec_of(now).disks[1].size = mib(512);
  CHECK(changed(old, now) ==
        "spec.rootDisk.size: cannot shrink from 2Gi to 1Gi: disks only grow, so that no data is cut off\n"
        "spec.disks[1].size: cannot shrink from 1Gi to 512Mi: disks only grow, so that no data is cut off\n");
  now = vm();
  spec_of(now).root_disk.size.reset();
  CHECK(changed(old, now) ==
        "spec.rootDisk.size: cannot shrink from 2Gi to the image's size: disks only grow, so that no data is cut off\n");
  CHECK(changed(now, old).empty());
}

TEST_CASE("what is immutable does not change") {
  const auto old = vm();
  auto now = vm();
  spec_of(now).root_disk.backend = DiskBackend::Copy;
  CHECK(changed(old, now) ==
        "spec.rootDisk.backend: cannot be changed from \"auto\" to \"copy\"; delete the object and create it again\n");
  CHECK(changed(network({.cidr = "10.1.2.0/24", .bridge = "br0"}), network({.cidr = "10.1.3.0/24"})) ==
        "spec.cidr: cannot be changed from \"10.1.2.0/24\" to \"10.1.3.0/24\"; delete the object and create it again\n"
        "spec.bridge: cannot be changed from \"br0\" to unset; delete the object and create it again\n");
  CHECK(changed(network({.mtu = 1500}), network({.mtu = 1400, .nat = NatMode::Disabled, .nameservers = {"1.1.1.1"}})).empty());
}

TEST_CASE("what was left to the daemon may be written down as it was chosen, or while nothing was chosen") {
  auto old = network({});
  CHECK(changed(old, network({.cidr = "10.1.2.0/24", .bridge = "br0"})).empty());
  std::get<Network>(old.body).status = {.cidr = "10.63.0.0/24", .gateway = "10.63.0.1", .bridge = "bgbabc"};
  CHECK(changed(old, network({.cidr = "10.63.0.0/24", .gateway = "10.63.0.1"})).empty());
  CHECK(changed(old, network({.cidr = "10.1.2.0/24"})) ==
        "spec.cidr: cannot be changed from unset to \"10.1.2.0/24\"; delete the object and create it again\n");
}

TEST_CASE("a change of everything else is allowed") {
  const auto old = vm();
  auto now = vm();
  auto& spec = spec_of(now);
  spec.power_state = PowerState::Stopped;
  spec.restart_policy = RestartPolicy::Never;
  spec.cpus = 4;
  spec.memory = gib(4);
  spec.image = "other";
  spec.kernel = "mine";
  spec.kernel_args = {"quiet"};
  spec.network_interfaces = {{.network = "lan", .address = "10.1.2.3"}};
  spec.ssh.emplace();
  spec.files = {{.path = "/etc/motd"}};
  spec.restart_nonce = "1";
  now.meta.labels = {{"app", "web"}};
  CHECK(changed(old, now).empty());
}

TEST_CASE("a gateway is a host address of its network") {
  CHECK(validate(network({.cidr = "10.1.2.0/29", .gateway = "10.1.2.6"}), nullptr).empty());
  for (const char* gateway : {"10.1.2.0", "10.1.2.7", "10.1.2.8", "10.1.1.255"}) {
    CAPTURE(std::string(gateway));
    CHECK(rule_messages(validate(network({.cidr = "10.1.2.0/29", .gateway = gateway}), nullptr)) ==
          std::string("spec.gateway: must be an address inside 10.1.2.0/29 other than the first (10.1.2.0) and the last "
                      "(10.1.2.7), is ") +
              gateway + "\n");
  }
}

TEST_CASE("a network stays out of the ranges that mean something else on every host") {
  for (const char* cidr : {"1.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.253.0.0/16", "192.168.0.0/16", "223.255.255.0/24"}) {
    CAPTURE(std::string(cidr));
    CHECK(validate(network({.cidr = cidr}), nullptr).empty());
  }
  for (const char* cidr :
       {"0.0.0.0/8", "127.0.0.0/8", "127.3.0.0/24", "169.254.0.0/16", "169.0.0.0/8", "224.0.0.0/24", "240.0.0.0/8"}) {
    CAPTURE(std::string(cidr));
    CHECK(rule_messages(validate(network({.cidr = cidr}), nullptr)).starts_with("spec.cidr: must not touch "));
  }
  CHECK(
      rule_messages(validate(network({.cidr = "127.0.0.0/24"}), nullptr)) ==
      "spec.cidr: must not touch 127.0.0.0/8, which is reserved for loopback, is 127.0.0.0/24; take one such as 10.64.1.0/24\n");
}

TEST_CASE("the host's kernel package brings its own files") {
  Object kernel{.meta = {.name = "host"}, .body = Kernel{.spec = {.source = KernelSource::HostPackage}}};
  CHECK(validate(kernel, nullptr).empty());
  std::get<Kernel>(kernel.body).spec.args = {"quiet"};
  CHECK(validate(kernel, nullptr).empty());
  std::get<Kernel>(kernel.body).spec.source = KernelSource::File;
  CHECK(rule_messages(validate(kernel, nullptr)) == "spec.path: is required with source File\n");
}

TEST_CASE("a lease is named for its network and address") {
  Object lease{.meta = {.name = "lan.10.1.2.3"}, .body = AddressLease{.spec = {.network = "lan", .address = "10.1.2.3"}}};
  CHECK(validate(lease, nullptr).empty());
  lease.meta.name = "lan.10.1.2.4";
  CHECK(rule_messages(validate(lease, nullptr)) == "metadata.name: must be \"lan.10.1.2.3\", is \"lan.10.1.2.4\"\n");
}

TEST_CASE("the daemon's own objects pass") {
  const Object event{
      .meta = {.name = "web.17a3b5c6d7", .ns = "default"},
      .body = Event{.involved = {.kind = Kind::VirtualMachine, .ns = "default", .name = "web"}, .reason = "Started"}};
  CHECK(rule_messages(validate(event, nullptr)) == "");
  const Object source{.meta = {.name = "manifests"}, .body = ManifestSource{.spec = {.directory = "/etc/banger/manifests"}}};
  CHECK(rule_messages(validate(source, nullptr)) == "");
}

TEST_CASE("annotations are at most 256 KiB together") {
  auto object = vm();
  object.meta.annotations = {{"a", std::string(256 * 1024 - 1, 'x')}};
  CHECK(validate(object, nullptr).empty());
  object.meta.annotations["b"] = "";
  CHECK(rule_messages(validate(object, nullptr)) == "metadata.annotations: must be at most 262144 bytes together, are 262145\n");
}

}  // namespace
}  // namespace banger::api
