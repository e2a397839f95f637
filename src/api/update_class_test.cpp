// SPDX-License-Identifier: Apache-2.0
#include "api/update_class.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "api/random_object.hpp"
#include "api/rows.hpp"

namespace banger::api {
namespace {

VirtualMachineSpec base_spec() {
  VirtualMachineSpec spec;
  spec.image = "demo";
  spec.network_interfaces = {{}};
  return spec;
}

TEST_CASE("equal specs have no changed fields") {
  CHECK(changed_fields(base_spec(), base_spec()).empty());
  CHECK(changed_fields({}, {}).empty());
}

TEST_CASE("each changed field is named with its class and both values, in the order of the schema") {
  auto to = base_spec();
  to.power_state = PowerState::Stopped;
  to.cpus = 2;
  to.memory = gib(1);
  to.image = "other";
  to.kernel_args = {"quiet", "a=b"};
  to.root_disk = {.size = gib(4), .backend = DiskBackend::DmSnapshot};
  to.disks = {{.name = "data", .size = mib(512), .mount_path = "/data"}};
  to.network_interfaces.clear();
  to.restart_nonce = "7";
  const std::vector<FieldChange> expected{
      {"spec.powerState", UpdateClass::Live, "Running", "Stopped"},
      {"spec.cpus", UpdateClass::Restart, "1", "2"},
      {"spec.memory", UpdateClass::Restart, "256Mi", "1Gi"},
      {"spec.image", UpdateClass::Recreate, "demo", "other"},
      {"spec.kernelArgs", UpdateClass::Restart, "[]", "[quiet, a=b]"},
      {"spec.rootDisk.size", UpdateClass::Restart, "unset", "4Gi"},
      {"spec.rootDisk.backend", UpdateClass::Immutable, "auto", "dm-snapshot"},
      {"spec.disks", UpdateClass::Restart, "[]", "[{name: data, size: 512Mi, mountPath: /data}]"},
      {"spec.networkInterfaces", UpdateClass::Restart, "[{network: default}]", "[]"},
      {"spec.restartNonce", UpdateClass::Restart, "\"\"", "\"7\""},
  };
  CHECK(changed_fields(base_spec(), to) == expected);
}

TEST_CASE("a struct that appears counts as one change, one that stays field by field") {
  auto from = base_spec();
  auto to = base_spec();
  to.ssh.emplace();
  CHECK(changed_fields(from, to) ==
        std::vector<FieldChange>{{"spec.ssh", UpdateClass::Restart, "unset", "{user: root, port: 22}"}});
  from.ssh.emplace();
  to.ssh->port = 2222;
  to.ssh->user = "me";
  CHECK(changed_fields(from, to) == std::vector<FieldChange>{{"spec.ssh.user", UpdateClass::Restart, "root", "me"},
                                                             {"spec.ssh.port", UpdateClass::Restart, "22", "2222"}});
}

TEST_CASE("long values are shortened to 80 characters") {
  auto to = base_spec();
  to.kernel = std::string(80, 'k');
  CHECK(changed_fields(base_spec(), to)[0].to == std::string(80, 'k'));
  to.kernel = std::string(81, 'k');
  CHECK(changed_fields(base_spec(), to)[0].to == std::string(79, 'k') + "…");
  to = base_spec();
  to.files = {{.path = "/a", .content = "one\ntwo\n"}};
  CHECK(changed_fields(base_spec(), to)[0].to == R"([{path: /a, content: "one\ntwo\n", mode: "0644"}])");
}

TEST_CASE("any two different specs differ in a field, and every field can differ") {
  schema::RandomObjects random(3, schema::Values::Anything);
  std::vector<std::string> seen;
  for (int i = 0; i < 500; ++i) {
    VirtualMachineSpec from;
    VirtualMachineSpec to;
    random.fill_fields(schema::fields_of<VirtualMachineSpec>(), &from);
    random.fill_fields(schema::fields_of<VirtualMachineSpec>(), &to);
    const auto changes = changed_fields(from, to);
    REQUIRE((from == to) == changes.empty());
    REQUIRE(changed_fields(from, from).empty());
    for (const auto& change : changes) seen.push_back(change.field);
  }
  for (const auto& field : schema::fields_of<VirtualMachineSpec>()) {
    CAPTURE(std::string(field.name));
    const auto path = "spec." + std::string(field.name);
    CHECK(std::ranges::any_of(seen, [&](const std::string& name) { return name.starts_with(path); }));
  }
}

}  // namespace
}  // namespace banger::api
