// SPDX-License-Identifier: Apache-2.0
// A lost database comes back from records and labels: as a pure decision, on the real database, and with a hundred VMs at rest.
#include "controller/recovery.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <fmt/format.h>
#include <filesystem>
#include <fstream>

#include "actuators/record.hpp"
#include "base/files.hpp"
#include "controller/adopt_mode.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::controller {
namespace {

namespace fs = std::filesystem;
using actuators::Sidecar;
using actuators::StoredRecord;
using api::Kind;

constexpr WallTime kThen{std::chrono::seconds{1'800'000'000}};

std::string uid_number(int number) { return fmt::format("{:08x}-0000-4000-8000-000000000000", number); }

StoredRecord network(const std::string& name, const std::string& uid, std::uint64_t version = 7) {
  api::Object object{.meta = {.name = name, .uid = uid, .resource_version = version, .generation = 2, .creation_time = kThen},
                     .body = api::Network{}};
  std::get<api::Network>(object.body).status.cidr = "10.63.4.0/24";
  return {.kind = Kind::Network, .uid = uid, .path = "object.json", .object = object};
}

StoredRecord vm(const std::string& name, const std::string& uid, const std::string& address = "10.63.4.5/24") {
  Sidecar sidecar{.uid = uid, .ns = "default", .name = name};
  sidecar.nics = {{.network = "lan", .network_uid = uid_number(900), .tap = "t", .mac = "m", .address = address, .gateway = "g"}};
  sidecar.meta = {.name = name,
                  .ns = "default",
                  .uid = uid,
                  .generation = 4,
                  .creation_time = kThen,
                  .labels = {{"app", name}},
                  .annotations = {{"banger.dev/source", "manifests:" + name + ".yaml"}},
                  .finalizers = {"example.org/mine"}};
  sidecar.spec.cpus = 3;
  StoredRecord record{.kind = Kind::VirtualMachine, .uid = uid, .path = "vm.json"};
  record.object = actuators::object_of(sidecar);
  record.sidecar = sidecar;
  return record;
}

RecoveryPlan plan(RecoveryInput input) {
  input.directory = "/s/db";
  return plan_recovery(input);
}

TEST_CASE("a first start loses nothing and says nothing") {
  const auto first = plan({});
  CHECK(first == RecoveryPlan{});
}

TEST_CASE("objects come back as they were wanted: uid, generation, times, labels, who declared them") {
  auto deleted = vm("old", uid_number(2), "10.63.4.6/24");
  deleted.object->meta.deletion_time = kThen;
  const auto got = plan({.records = {vm("web", uid_number(1)), deleted, network("lan", uid_number(900))}});
  REQUIRE(got.objects.size() == 3);
  CHECK(got.objects[0].meta.name == "lan");  // what others refer to comes first
  CHECK(got.objects[0].meta.resource_version == 0);
  CHECK(std::get<api::Network>(got.objects[0].body).status.cidr == "10.63.4.0/24");
  CHECK(got.objects[1].meta.deletion_time == kThen);
  const auto& web = got.objects[2];
  CHECK(web.meta.uid == uid_number(1));
  CHECK(web.meta.generation == 4);
  CHECK(web.meta.creation_time == kThen);
  CHECK(web.meta.labels.at("app") == "web");
  CHECK(web.meta.annotations.at("banger.dev/source") == "manifests:web.yaml");
  CHECK(web.meta.finalizers == std::vector<std::string>{"example.org/mine", "banger.dev/teardown"});
  CHECK(std::get<api::VirtualMachine>(web.body).spec.cpus == 3);
  REQUIRE(got.leases.size() == 2);
  CHECK(got.leases[1] == api::AddressLeaseSpec{.network = "lan",
                                               .address = "10.63.4.5",
                                               .vm_uid = uid_number(1),
                                               .vm_namespace = "default",
                                               .vm_name = "web",
                                               .interface_index = 0});
  CHECK(got.claims.empty());
  CHECK(got.problems.empty());
  CHECK(
      got.report ==
      "the database /s/db was gone; a new one was filled from records: 1 Network, 2 VirtualMachines, 2 AddressLeases; 1 of them "
      "was being deleted before, and that goes on");
}

TEST_CASE("revisions go on 10^9 above the highest that is known") {
  CHECK(plan({.records = {network("a", uid_number(1), 41), network("b", uid_number(2), 17)}}).base == kEpoch + 41);
  CHECK(plan({.records = {network("a", uid_number(1), 41)}, .floor = 3 * kEpoch}).base == 4 * kEpoch);
  CHECK(plan({.damage = "x", .set_aside = "/s/db.damaged-1"}).base == kEpoch);
}

TEST_CASE("what has a label and no record is claimed by its name; a name with two uids is nobody's") {
  const api::ObjectKey web{Kind::VirtualMachine, "default", "web"};
  const api::ObjectKey two{Kind::VirtualMachine, "default", "two"};
  const auto got = plan({.records = {vm("db", uid_number(1))},
                         .labels = {{.uid = uid_number(5), .of = web, .where = "link a"},
                                    {.uid = uid_number(5), .of = web, .where = "process 7"},
                                    {.uid = uid_number(6), .of = two, .where = "link b"},
                                    {.uid = uid_number(7), .of = two, .where = "link c"},
                                    {.uid = uid_number(1), .of = {Kind::VirtualMachine, "default", "db"}, .where = "link d"}}});
  CHECK(got.claims == store::Objects::Claims{{web, uid_number(5)}, {{Kind::Network, "", "lan"}, uid_number(900)}});
  REQUIRE(got.problems.size() == 1);
  CHECK(got.problems[0].find("VirtualMachine default/two is named by labels of 2 uids") == 0);
  CHECK(got.report.find("2 objects known by labels only") != std::string::npos);
  // A record that cannot be read is no loss where a label tells the name.
  const StoredRecord spoilt{.kind = Kind::VirtualMachine, .uid = uid_number(5), .path = "p", .error = "vm.json cannot be read"};
  CHECK(plan({.records = {spoilt}, .labels = {{.uid = uid_number(5), .of = web, .where = "link a"}}}).problems.empty());
}

TEST_CASE("of two records of one name the one that is not being deleted comes back; damaged ones are named") {
  auto dying = vm("web", uid_number(9));
  dying.object->meta.deletion_time = kThen;
  StoredRecord damaged{.kind = Kind::Image, .uid = uid_number(3), .path = "p", .error = "object.json cannot be read: x"};
  const auto got =
      plan({.records = {dying, vm("web", uid_number(1)), damaged}, .damage = "CURRENT is missing", .set_aside = "/s/x"});
  REQUIRE(got.objects.size() == 1);
  CHECK(got.objects[0].meta.uid == uid_number(1));
  REQUIRE(got.problems.size() == 2);
  CHECK(got.problems[0] ==
        "VirtualMachine default/web " + uid_number(9) + " does not come back: " + uid_number(1) + " is another one of that name");
  CHECK(got.problems[1] == "Image " + uid_number(3) + " does not come back: object.json cannot be read: x");
  CHECK(got.report.starts_with("the database /s/db was damaged (CURRENT is missing) and is now /s/x; "));
  CHECK(got.report.ends_with("2 things could not be brought back"));
}

TEST_CASE("two VMs with one address: the first keeps it, and that is said") {
  const auto got = plan({.records = {vm("a", uid_number(1)), vm("b", uid_number(2))}});
  CHECK(got.leases.size() == 1);
  REQUIRE(got.problems.size() == 1);
  CHECK(got.problems[0].find("10.63.4.5 of the Network lan is recorded for two VMs") == 0);
}

TEST_CASE("a recorded address that is none is said, and keeps neither its VM nor the daemon from coming back") {
  const auto got = plan({.records = {vm("a", uid_number(1), "10.63.4.999/24"), vm("b", uid_number(2))}});
  CHECK(got.objects.size() == 2);
  REQUIRE(got.leases.size() == 1);
  CHECK(got.leases[0].vm_name == "b");
  REQUIRE(got.problems.size() == 1);
  CHECK(got.problems[0].find("the address of VirtualMachine default/a on the Network lan is not recorded as one: ") == 0);
}

// --- on the real database, with a simulated host ---------------------------------------------------------------------------

struct Directory {
  fs::path path;
  Directory() {
    std::string pattern = (::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + std::string("/banger-recovery-XXXXXX");
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Directory() { (void)remove_tree(path); }
};

struct LossWorld : reconcilers::World {
  Directory directory;
  std::string db = directory.path / "db";
  std::vector<RecoveryPlan> losses;
  std::vector<OwnerLabel> labels;

  Result<OpenedState> open() {
    return open_state(db, {host, clock, random},
                      {.ensure = [](store::Objects& all) { return reconcilers::ensure_builtins(all); },
                       .before = [this](const RecoveryPlan& plan) -> Result<void> {
                         losses.push_back(plan);
                         return {};
                       },
                       .labels = [this](std::size_t& count) -> Result<std::vector<OwnerLabel>> {
                         count = labels.size();
                         return labels;
                       }});
  }
  OpenedState must_open() {
    auto opened = open();
    REQUIRE_MESSAGE(opened.has_value(), opened.error().message);
    return *std::move(opened);
  }
  // The world goes on with what a restarted daemon would find.
  void lose_database() {
    host.restart_daemon();
    auto opened = must_open();
    replace(*opened.store);
  }
  // What was done to the host; asking a guest whether it answers is not.
  std::vector<std::string> changes() {
    auto log = host.log();
    std::erase_if(log, [](const std::string& line) { return line.ends_with("Job probe"); });
    return log;
  }
  void replace(store::Store& from) {
    store = store::make_memory_store();
    for (const auto kind : {Kind::Network, Kind::Kernel, Kind::Image, Kind::VirtualMachine, Kind::AddressLease}) {
      auto listing = from.list({.kind = kind, .ns = std::nullopt}).value();
      for (auto& object : listing.objects) {
        object.meta.resource_version = 0;
        REQUIRE(store->create(object).has_value());
      }
    }
    // The reconcilers keep the old rules object: it is made anew in its place.
    std::destroy_at(&objects);
    std::construct_at(&objects, *store, clock, random);
    restart();
  }
};

TEST_CASE_FIXTURE(LossWorld, "a first start makes a database with the built-in objects and reports nothing") {
  const auto opened = must_open();
  CHECK(opened.plan.report.empty());
  CHECK(losses.empty());
  CHECK(opened.store->get(key(Kind::Network, "default")).has_value());
  CHECK(opened.store->revision() == 2);
  CHECK(fs::exists(db));
  CHECK_FALSE(fs::exists(db + ".new"));
  CHECK_FALSE(fs::exists(db + ".base"));
}

TEST_CASE_FIXTURE(LossWorld, "a whole database is opened as it is, whatever records say") {
  (void)must_open();
  running_vm();
  const auto again = must_open();
  CHECK(again.plan.report.empty());
  CHECK_FALSE(again.store->get(vm_key()).has_value());
  CHECK(losses.empty());
}

TEST_CASE_FIXTURE(LossWorld, "a hundred running VMs come back from records, and no pass finds anything to do") {
  create_builtins();
  create_image();
  for (int i = 0; i < 100; ++i) create_vm("vm-" + std::to_string(i));
  settle();
  std::map<api::ObjectKey, api::Object> before;
  for (const auto& each : keys()) before.emplace(each, *store->get(each));
  const auto leases_before = leases();
  host.clear_log();
  lose_database();
  REQUIRE(losses.size() == 1);
  CHECK(losses[0].base > kEpoch);
  CHECK(losses[0].problems.empty());
  settle();
  CHECK(changes() == std::vector<std::string>{});
  CHECK(leases() == leases_before);
  for (const auto& [each, object] : before) {
    const auto now = store->get(each);
    REQUIRE(now.has_value());
    CHECK(now->meta.uid == object.meta.uid);
    CHECK(now->meta.generation == object.meta.generation);
    CHECK(now->meta.finalizers == object.meta.finalizers);
  }
  CHECK(condition("Ready", "vm-42") == "True Ready");
}

TEST_CASE_FIXTURE(LossWorld, "a clean restart with a hundred VMs mutates nothing") {
  create_builtins();
  create_image();
  for (int i = 0; i < 100; ++i) create_vm("vm-" + std::to_string(i));
  settle();
  host.restart_daemon();
  restart();
  host.clear_log();
  const auto revision = store->revision();
  for (const auto& each : keys()) {
    const auto outcome = pass(each);
    CHECK_FALSE(outcome.error);
    CHECK(outcome.mutations == 0);
    CHECK(outcome.changed.empty());
  }
  CHECK(changes() == std::vector<std::string>{});
  CHECK(store->revision() == revision);
}

TEST_CASE_FIXTURE(LossWorld, "statuses that were wiped, with all else whole, are found again by looking") {
  const auto uid = running_vm();
  std::map<api::ObjectKey, api::Object> before;
  for (const auto& each : keys()) before.emplace(each, *store->get(each));
  host.clear_log();
  for (const auto& each : keys()) {
    REQUIRE(objects.edit_status(each, [](api::Object& object) -> Result<void> {
      std::visit(
          []<class T>(T& body) {
            if constexpr (requires { body.status; }) body.status = {};
          },
          object.body);
      return {};
    }));
  }
  restart();
  settle();
  CHECK(changes() == std::vector<std::string>{});
  for (const auto& [each, object] : before) {
    CAPTURE(api::to_string(each));
    const auto now = *store->get(each);
    if (each.kind == Kind::Network)
      CHECK(std::get<api::Network>(now.body).status.cidr == std::get<api::Network>(object.body).status.cidr);
    if (each.kind == Kind::Image)
      CHECK(std::get<api::Image>(now.body).status.digest == std::get<api::Image>(object.body).status.digest);
    if (each.kind != Kind::VirtualMachine) continue;
    const auto& was = std::get<api::VirtualMachine>(object.body).status;
    const auto& is = std::get<api::VirtualMachine>(now.body).status;
    CHECK(now.meta.uid == uid);
    CHECK(is.vmm == was.vmm);
    CHECK(is.network_interfaces == was.network_interfaces);
    CHECK(is.disks == was.disks);
    CHECK(is.runtime == was.runtime);
    CHECK(is.phase == "Running");
  }
  CHECK(condition("Ready") == "True Ready");
  CHECK(condition("RestartRequired") == "absent");
}

TEST_CASE_FIXTURE(LossWorld, "a VM that came back is deleted whole") {
  const auto uid = running_vm();
  lose_database();
  settle();
  remove(vm_key());
  settle();
  CHECK_FALSE(exists(vm_key()));
  CHECK(host.leftovers().empty());
  CHECK(leases() == 0);
}

TEST_CASE_FIXTURE(LossWorld, "a deletion that was under way when the database was lost goes on") {
  running_vm();
  host.hold_kills(true);
  remove(vm_key());
  for (int i = 0; i < 3; ++i) round();
  REQUIRE(exists(vm_key()));
  // Whoever writes the record has told it of the deletion.
  const auto records = host.records().value();
  for (const auto& record : records) {
    if (!record.sidecar) continue;
    auto sidecar = *record.sidecar;
    sidecar.meta = store->get(vm_key())->meta;
    sidecar.meta.resource_version = 0;
    sidecar.spec = std::get<api::VirtualMachine>(store->get(vm_key())->body).spec;
    REQUIRE(host.apply(actuators::WriteSidecar{sidecar}).has_value());
  }
  lose_database();
  CHECK(store->get(vm_key())->meta.deletion_time.has_value());
  REQUIRE(losses.size() ==
          1);  // a deletion that is on record is as much wanted as a spec: adopt mode says it, and holds it not up
  CHECK(losses[0].report.ends_with("; 1 of them was being deleted before, and that goes on"));
  host.hold_kills(false);
  host.reap();
  settle();
  CHECK_FALSE(exists(vm_key()));
  CHECK(host.leftovers().empty());
}

TEST_CASE_FIXTURE(LossWorld, "the built-in network gets its old uid from its record, else from its bridge's label") {
  create_builtins();
  settle();
  const auto old = store->get(key(Kind::Network, "default"))->meta.uid;
  {
    const auto opened = must_open();
    CHECK(opened.store->get(key(Kind::Network, "default"))->meta.uid == old);
  }
  fs::remove_all(db);
  host.lose_record(old);
  labels = {{.uid = old, .of = key(Kind::Network, "default"), .where = "link bgb"}};
  const auto opened = must_open();
  CHECK(opened.store->get(key(Kind::Network, "default"))->meta.uid == old);
  CHECK(losses.size() == 2);
  CHECK(opened.store->revision() > 2 * kEpoch);
}

TEST_CASE_FIXTURE(LossWorld, "a damaged database is set aside, and a crash before the new one is whole starts over") {
  running_vm();
  (void)must_open();
  losses.clear();
  fs::remove(fs::path(db) / "CURRENT");
  fs::create_directories(db + ".new");
  std::ofstream(db + ".new/CURRENT") << "half";
  const auto opened = must_open();
  REQUIRE(losses.size() == 1);
  CHECK(losses[0].report.find("was damaged (the file CURRENT is missing) and is now " + db + ".damaged-") != std::string::npos);
  CHECK(opened.store->get(vm_key()).has_value());
  CHECK_FALSE(fs::exists(db + ".new"));
}

TEST_CASE_FIXTURE(LossWorld, "a loss that cannot be written down leaves no database in its place") {
  running_vm();
  const auto opened = open_state(db, {host, clock, random},
                                 {.ensure = [](store::Objects&) -> Result<void> { return {}; },
                                  .before = [](const RecoveryPlan&) -> Result<void> { return fail(internal("disk full")); },
                                  .labels = [](std::size_t&) -> Result<std::vector<OwnerLabel>> { return {}; }});
  REQUIRE_FALSE(opened);
  CHECK_FALSE(fs::exists(db));
}

TEST_CASE_FIXTURE(LossWorld, "a running VM without record and database is taken over by its label when it is declared again") {
  const auto uid = running_vm();
  const auto network = store->get(key(Kind::Network, "default"))->meta.uid;
  const auto pid = status().vmm->pid;
  const auto nics = status().network_interfaces;
  host.lose_sidecar(uid);
  host.lose_record(network);
  std::size_t labelled = 0;
  labels = owner_labels(host, labelled).value();
  CHECK(labelled > 2);
  host.restart_daemon();
  auto opened = must_open();
  CHECK_FALSE(opened.store->get(vm_key()).has_value());
  CHECK(opened.store->get(key(Kind::Network, "default"))->meta.uid == network);
  CHECK(opened.plan.claims == store::Objects::Claims{{vm_key(), uid}});
  replace(*opened.store);
  const auto again = claims_left(owner_labels(host, labelled).value(), host, *store);
  REQUIRE(again.has_value());
  CHECK(*again == opened.plan.claims);  // also at a later start
  objects.claim(*again);
  if (!exists(key(Kind::Image, "demo"))) create_image();
  CHECK(create_vm() == uid);
  settle();
  CHECK(condition("Ready") == "True Ready");
  CHECK(status().vmm->pid == pid);
  CHECK(status().network_interfaces == nics);  // its address is known by the host key that is pinned under it, and leased again
  CHECK(leases() == 1);
  remove(vm_key());
  settle();
  CHECK(host.leftovers().empty());
}

TEST_CASE("adopt mode survives a restart until somebody ends it, once") {
  const Directory directory;
  const auto file = directory.path / "adopting";
  CHECK_FALSE(AdoptMode(file).active());
  REQUIRE(AdoptMode(file).enter("the database was gone").has_value());
  AdoptMode again(file);
  CHECK(again.why() == "the database was gone");
  CHECK(again.text().find("bangerctl gc --confirm") != std::string::npos);
  std::vector<std::string> told;
  again.on_leave([&](const std::string& how) { told.push_back(how); });
  CHECK(again.leave("the manifests were read in full"));
  CHECK_FALSE(again.leave());
  CHECK(told == std::vector<std::string>{"the manifests were read in full"});
  CHECK(again.text().empty());
  CHECK_FALSE(AdoptMode(file).active());
}

TEST_CASE("a report that cannot be read is a report") {
  const Directory directory;
  const auto file = directory.path / "adopting";
  std::ofstream(file) << "";
  CHECK(AdoptMode(file).active());
  fs::remove(file);
  fs::create_symlink("/etc/hostname", file);
  AdoptMode mode(file);
  CHECK(mode.active());
  CHECK(mode.leave());
  CHECK_FALSE(fs::exists(fs::symlink_status(file)));
}

TEST_CASE("claims at a later start are of labels that no living object explains") {
  const api::ObjectKey web{Kind::VirtualMachine, "default", "web"};
  CHECK(claims_of({{uid_number(1), web, "a"}, {uid_number(2), web, "b"}}, {uid_number(2)}) ==
        store::Objects::Claims{{web, uid_number(1)}});
  CHECK(claims_of({{uid_number(1), web, "a"}, {uid_number(2), web, "b"}}, {}).empty());
}

}  // namespace
}  // namespace banger::controller
