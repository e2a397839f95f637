// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/network/reconciler.hpp"

#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::network {
namespace {

using actuators::sim::FaultPoint;
using std::chrono::seconds;

struct NetworkWorld : World {
  std::string make(const std::string& name, api::NetworkSpec spec) {
    api::Object object;
    object.meta.name = name;
    object.body = api::Network{.spec = std::move(spec), .status = {}};
    return create(std::move(object)).meta.uid;
  }
  api::NetworkStatus seen(const std::string& name) { return body<api::Network>(key(api::Kind::Network, name)).status; }
  std::string said(const std::string& name, std::string_view type) { return condition(seen(name).conditions, type); }
  std::string sentence(const std::string& name, std::string_view type) {
    const auto conditions = seen(name).conditions;
    const auto* found = api::find_condition(conditions, type);
    return found == nullptr ? "" : found->message;
  }
  actuators::LinkView link(const std::string& name) {
    for (const auto& each : host.links()) {
      if (each.name == name) return each;
    }
    FAIL("no link " << name);
    return {};
  }
};

TEST_CASE_FIXTURE(NetworkWorld, "a network without a range takes the first free one, writes it down, then makes its bridge") {
  host.add_route({.destination = *parse_cidr("10.63.0.0/24"), .link = "eth0"});
  make("a", {});
  const auto a = key(api::Kind::Network, "a");
  pass(a);
  CHECK(seen("a").cidr == "10.63.1.0/24");
  CHECK(host.mutations() == 0);  // intent first
  settle();
  CHECK(said("a", "Ready") == "True Ready");
  CHECK(seen("a").gateway == "10.63.1.1");
  CHECK(seen("a").nameservers == std::vector<std::string>{"192.0.2.53"});
  CHECK(link(seen("a").bridge).addresses == std::vector<std::string>{"10.63.1.1/24"});
  const auto uid = store->get(a)->meta.uid;
  CHECK(host.observe_network({.uid = uid, .bridge = seen("a").bridge})->nat->cidr == "10.63.1.0/24");
  make("b", {});
  settle();
  CHECK(seen("b").cidr == "10.63.2.0/24");
  const auto mutations = host.mutations();
  for (int i = 0; i < 3; ++i) CHECK(round());
  CHECK(host.mutations() == mutations);
}

TEST_CASE_FIXTURE(NetworkWorld, "a network is recorded before its bridge is made, and its record is the last to go") {
  const auto uid = make("a", {});
  settle();
  REQUIRE(host.log().size() == 3);
  CHECK(host.log()[0] == "WriteRecord Network a");
  const auto recorded = host.records().value();
  REQUIRE(recorded.size() == 1);
  CHECK(recorded[0].uid == uid);
  CHECK(std::get<api::Network>(recorded[0].object->body).status.cidr == "10.63.0.0/24");
  host.clear_log();
  remove(key(api::Kind::Network, "a"));
  settle();
  REQUIRE(host.log().size() == 3);
  CHECK(host.log()[2] == "RemoveNetworkDirectory " + uid);
  CHECK(host.records()->empty());
  CHECK_FALSE(exists(key(api::Kind::Network, "a")));
}

TEST_CASE_FIXTURE(NetworkWorld, "a record that was lost, spoilt or is out of date is written again, and nothing else happens") {
  const auto uid = make("a", {});
  settle();
  for (int round = 0; round < 3; ++round) {
    host.clear_log();
    if (round == 0) host.lose_record(uid);
    if (round == 1) host.spoil_record(uid, "object.json is a symbolic link");
    if (round == 2) {
      REQUIRE(objects.edit(key(api::Kind::Network, "a"), [](api::Object& object) -> Result<void> {
        object.meta.labels["tier"] = "front";
        return {};
      }));
    }
    settle();
    CHECK(host.log() == std::vector<std::string>{"WriteRecord Network a"});
    CHECK(said("a", "Ready") == "True Ready");
    CHECK(events.count("RecordUnreadable") == (round >= 1 ? 1 : 0));
  }
  CHECK(host.records()->front().object->meta.labels.at("tier") == "front");
}

TEST_CASE_FIXTURE(NetworkWorld, "a network whose status was lost keeps the range that its bridge stands on") {
  host.add_route({.destination = *parse_cidr("10.63.0.0/24"), .link = "eth0"});
  make("a", {});
  settle();
  REQUIRE(seen("a").cidr == "10.63.1.0/24");
  auto object = *store->get(key(api::Kind::Network, "a"));
  std::get<api::Network>(object.body).status = {};
  REQUIRE(store->update(object));
  host.add_route({.destination = *parse_cidr("10.63.4.0/24"), .link = "eth0"});
  host.clear_log();
  settle();
  CHECK(seen("a").cidr == "10.63.1.0/24");
  CHECK(said("a", "Ready") == "True Ready");
  CHECK(host.log().empty());
}

TEST_CASE_FIXTURE(NetworkWorld, "a range that the host routes already is a condition that names the route, until it is gone") {
  host.add_route({.destination = *parse_cidr("0.0.0.0/0"), .link = "eth0"});
  host.add_route({.destination = *parse_cidr("10.9.0.0/16"), .link = "wg0"});
  make("a", {.cidr = "10.9.8.0/24"});
  settle();
  CHECK(said("a", "CidrConflict") == "True Overlap");
  CHECK(sentence("a", "CidrConflict") == "10.9.8.0/24 overlaps with the host's route 10.9.0.0/16 on link wg0");
  CHECK(host.links().empty());
  CHECK(pass(key(api::Kind::Network, "a")).requeue_after == seconds(30));
}

TEST_CASE_FIXTURE(NetworkWorld, "two networks never share a range, and the second says with whom it conflicts") {
  make("a", {.cidr = "10.9.0.0/24"});
  settle();
  make("b", {.cidr = "10.9.0.0/25"});
  settle();
  CHECK(sentence("b", "Ready") == "10.9.0.0/25 overlaps with 10.9.0.0/24 of the Network a");
  CHECK(said("a", "Ready") == "True Ready");
  remove(key(api::Kind::Network, "a"));
  settle();
  clock.advance(seconds(30));
  settle();
  CHECK(said("b", "Ready") == "True Ready");
  CHECK(said("b", "CidrConflict") == "absent");
}

TEST_CASE_FIXTURE(NetworkWorld, "a bridge that carries guests stays when a route comes in its way later") {
  make("a", {.cidr = "10.9.0.0/24"});
  settle();
  host.add_route({.destination = *parse_cidr("10.9.0.0/24"), .link = "wg0"});
  clock.advance(seconds(31));
  settle();
  CHECK(said("a", "CidrConflict") == "True Overlap");
  CHECK(said("a", "Ready") == "True Ready");
  CHECK(host.links().size() == 1);
}

TEST_CASE_FIXTURE(NetworkWorld, "a foreign bridge or nft table of the same name is left as it is") {
  const actuators::LinkView foreign{.name = "br0", .index = 3, .kind = "bridge", .alias = "mine", .addresses = {"10.9.0.1/24"}};
  host.add_link(foreign);
  make("a", {.cidr = "10.8.0.0/24", .bridge = "br0"});
  const auto uid = make("b", {.cidr = "10.7.0.0/24"});
  const actuators::NatView table{.table = actuators::nat_table_name(uid), .comment = "mine"};
  host.add_nat(table);
  settle();
  CHECK(said("a", "NameConflict") == "True ForeignObject");
  CHECK(said("b", "NameConflict") == "True ForeignObject");
  CHECK(link("br0") == foreign);
  CHECK(host.mutations() == 0);
  for (const auto* name : {"a", "b"}) remove(key(api::Kind::Network, name));
  settle();
  CHECK_FALSE(exists(key(api::Kind::Network, "a")));
  CHECK_FALSE(exists(key(api::Kind::Network, "b")));
  CHECK(link("br0") == foreign);
  CHECK(host.observe_network({.uid = uid, .bridge = "x"})->nat == table);
}

TEST_CASE_FIXTURE(NetworkWorld, "what was removed behind our back comes back, and a resync sees it") {
  const auto uid = make("a", {.cidr = "10.9.0.0/24", .bridge = "br7"});
  settle();
  const auto drifted = [&] {
    const auto view = *host.observe_all({{.uid = uid, .bridge = "br7"}});
    return reconcilers.front()->drifted(view).size();
  };
  CHECK(drifted() == 0);
  host.flush_nat();
  CHECK(drifted() == 1);
  settle();
  CHECK(drifted() == 0);
  host.remove_link("br7");
  CHECK(drifted() == 1);
  settle();
  CHECK(link("br7").up);
}

TEST_CASE_FIXTURE(NetworkWorld, "address translation goes when it is switched off") {
  const auto uid = make("a", {.cidr = "10.9.0.0/24"});
  settle();
  REQUIRE(objects
              .edit(key(api::Kind::Network, "a"),
                    [](api::Object& object) -> Result<void> {
                      std::get<api::Network>(object.body).spec.nat = api::NatMode::Disabled;
                      return {};
                    })
              .has_value());
  settle();
  CHECK_FALSE(host.observe_network({.uid = uid, .bridge = seen("a").bridge})->nat);
  CHECK(sentence("a", "Ready").ends_with("address translation is off"));
}

TEST_CASE_FIXTURE(NetworkWorld, "the bridge and the nft table are told as they are, beside what should be") {
  make("a", {.cidr = "10.9.0.0/24"});
  settle();
  const auto told = [&] {
    std::vector<std::string> rows;
    for (const auto& each : seen("a").kernel_objects)
      rows.push_back(each.type + " " + each.desired + " " + each.observed + " " + each.detail);
    return rows;
  };
  const auto bridge = seen("a").bridge;
  CHECK(told() == std::vector<std::string>{"bridge present present up, 10.9.0.1/24, mtu 1500",
                                           "nft table present present masquerades 10.9.0.0/24 behind " + bridge});
  REQUIRE(objects
              .edit(key(api::Kind::Network, "a"),
                    [](api::Object& object) -> Result<void> {
                      std::get<api::Network>(object.body).spec.nat = api::NatMode::Disabled;
                      return {};
                    })
              .has_value());
  settle();
  CHECK(told()[1] == "nft table absent absent ");
}

TEST_CASE_FIXTURE(NetworkWorld, "a network in use waits with its deletion and names the VMs") {
  running_vm();
  remove(key(api::Kind::Network, "default"));
  settle();
  CHECK(said("default", "Ready") == "False InUse");
  CHECK(sentence("default", "Ready") == "waits until its addresses are free: default/web");
  CHECK(host.vmm_count(store->get(vm_key())->meta.uid) == 1);
  remove(vm_key());
  settle();
  CHECK_FALSE(exists(key(api::Kind::Network, "default")));
  CHECK(host.links().empty());
}

TEST_CASE_FIXTURE(NetworkWorld, "a step that fails is shown, and tried again") {
  make("a", {.cidr = "10.9.0.0/24"});
  const Error error{.code = ErrorCode::Denied, .message = "creating the bridge: EPERM", .sys_errno = 1};
  host.fail_next("MakeBridge", error, FaultPoint::BeforeEffect);
  pass(key(api::Kind::Network, "a"));
  const auto outcome = pass(key(api::Kind::Network, "a"));
  REQUIRE(outcome.error);
  CHECK(said("a", "Ready") == "False BridgeFailed");
  CHECK(sentence("a", "Ready").find("EPERM") != std::string::npos);
  settle();
  CHECK(said("a", "Ready") == "True Ready");
}

TEST_CASE_FIXTURE(NetworkWorld, "the built-in objects are there once, and stay as people change them") {
  create_builtins();
  create_builtins();
  CHECK(list_all(objects, api::Kind::Network).size() == 1);
  CHECK(body<api::Kernel>(key(api::Kind::Kernel, "host")).spec.source == api::KernelSource::HostPackage);
}

}  // namespace
}  // namespace banger::reconcilers::network
