// SPDX-License-Identifier: Apache-2.0
#include "controller/garbage.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "actuators/sim/sim_host.hpp"
#include "controller/cow_metrics.hpp"
#include "controller/garbage_document.hpp"

namespace banger::controller {
namespace {

using actuators::Belonging;
using actuators::HostObject;
using actuators::HostObjectType;

const std::string kVm = "1b5e6f6a-1111-4222-8333-444455556666";
const std::string kNetwork = "0b5e6f6a-1111-4222-8333-444455556666";
const api::ObjectKey kWeb{api::Kind::VirtualMachine, "default", "web"};

HostObject thing(HostObjectType type, const std::string& uid, const std::string& in_use = "", bool data = false) {
  return {.type = type,
          .name = fmt::format("{} {}", actuators::name_of(type), uid.substr(0, 4)),
          .uid = uid,
          .of = {},
          .label = "path",
          .in_use = in_use,
          .holds_data = data};
}

Fate fate_of(const HostObject& object, const std::vector<HostObject>& beside = {}, bool adopting = false) {
  auto all = beside;
  all.insert(all.begin(), object);
  return classify(all, {}, adopting).front().fate;
}

std::vector<std::string> names(const std::vector<Teardown>& plan) {
  std::vector<std::string> out;
  for (const auto& teardown : plan) {
    for (const auto& step : teardown.steps) out.emplace_back(actuators::name_of(step));
  }
  return out;
}

// Somebody else comes in between: after a list was read, or before an object that has its uid is stored.
constexpr int kOwningKindCount = 4;  // the collector lists Network, Kernel, Image and VirtualMachine, in this order
class RacingStore final : public store::Store {
 public:
  int lists_to_pass = 0;
  std::function<void()> after_list, at_next_create;

  Result<api::Object> get(const api::ObjectKey& key) override { return inner_->get(key); }
  Result<store::Listing> list(const store::ListQuery& query) override {
    auto listing = inner_->list(query);
    if (after_list && lists_to_pass-- == 0) std::exchange(after_list, nullptr)();
    return listing;
  }
  Result<api::Object> create(const api::Object& object) override {
    if (at_next_create) std::exchange(at_next_create, nullptr)();
    return inner_->create(object);
  }
  Result<api::Object> update(const api::Object& object) override { return inner_->update(object); }
  Result<api::Object> remove(const api::ObjectKey& key, std::optional<store::Revision> expected) override {
    return inner_->remove(key, expected);
  }
  store::Revision revision() override { return inner_->revision(); }
  store::Revision compacted() override { return inner_->compacted(); }
  Result<std::unique_ptr<store::Watch>> watch(const store::WatchQuery& query) override { return inner_->watch(query); }
  Result<void> compact(store::Revision revision) override { return inner_->compact(revision); }
  bool poisoned() override { return inner_->poisoned(); }

 private:
  std::unique_ptr<store::Store> inner_ = store::make_memory_store();
};

api::Object web() {
  return {.meta = {.name = kWeb.name, .ns = kWeb.ns}, .body = api::VirtualMachine{.spec = {.image = "demo"}, .status = {}}};
}

struct GarbageBench {
  GarbageBench() = default;
  explicit GarbageBench(store::Store& other) : used(other) {}

  std::unique_ptr<store::Store> own = store::make_memory_store();
  store::Store& used = *own;
  ManualClock clock;
  SeededRandom random{1};
  store::Objects objects{used, clock, random};
  actuators::Layout layout{.state_dir = "/var/lib/banger", .run_dir = "/run/banger"};
  actuators::sim::SimHost host{layout, clock};
  AdoptMode adopt_mode;
  Metrics metrics;
  GarbageCollector collector{objects, host, adopt_mode, metrics};

  void must(const actuators::Step& step) {
    const auto applied = host.apply(step);
    REQUIRE_MESSAGE(applied, (applied ? "" : applied.error().message));
  }
  void launch(const std::string& uid, bool has_node = false) {
    host.set_device_mapper(has_node);
    host.add_file("/boot/vmlinuz", mib(8), 1);
    host.add_file("/boot/initrd", mib(8), 1);
    host.add_file("/base", mib(64), 1);
    must(actuators::MakeVmDirectory{.vm_uid = uid, .addresses = {}});
    must(actuators::StartJob{.key = {uid, "root-disk"},
                             .spec = actuators::MakeRootDisk{.vm_uid = uid, .base_path = "/base", .size = mib(100)}});
    if (has_node) must(actuators::ActivateRootDisk{uid, mib(100)});
    must(actuators::WriteVmInitrd{.vm_uid = uid, .base_initrd = "/boot/initrd", .config = {}});
    must(actuators::MakeBridge{.network_uid = kNetwork, .name = actuators::bridge_name(kNetwork), .address = "10.1.2.1/24"});
    must(actuators::WriteNat{.network_uid = kNetwork,
                             .table = actuators::nat_table_name(kNetwork),
                             .bridge = actuators::bridge_name(kNetwork),
                             .cidr = "10.1.2.0/24"});
    must(actuators::MakeTap{
        .vm_uid = uid, .name = actuators::tap_name(uid, 0), .bridge = actuators::bridge_name(kNetwork), .of = kWeb});
    must(actuators::LaunchVmm{
        .vm_uid = uid,
        .vm_name = "web",
        .memory = mib(256),
        .kernel_path = "/boot/vmlinuz",
        .initrd_path = actuators::vm_initrd_path(layout, uid).string(),
        .kernel_args = {},
        .disks = {{.name = "root",
                   .path = (has_node ? actuators::dm_device_path(uid) : actuators::root_disk_path(layout, uid)).string(),
                   .lock_path = has_node ? actuators::root_cow_path(layout, uid).string() : ""}},
        .nics = {{.tap = actuators::tap_name(uid, 0), .mac = actuators::mac_of(uid, 0)}}});
    must(actuators::ForgetJob{.key = {uid, "root-disk"}});
  }
  GarbageReport look() {
    auto seen = collector.look();
    REQUIRE(seen);
    return *std::move(seen);
  }
  GarbageReport collect(Permission permission) {
    auto done = collector.collect(permission);
    REQUIRE_MESSAGE(done, (done ? "" : done.error().message));
    return *std::move(done);
  }
  std::string stored_uid() {
    const auto stored = used.get(kWeb);
    return stored ? stored->meta.uid : "";
  }
  std::size_t orphans() { return static_cast<std::size_t>(std::ranges::count_if(look().rows, is_orphan)); }
};

}  // namespace

TEST_CASE("what has a stored owner is kept, what is not ours is left alone, the rest is an orphan") {
  const std::map<std::string, api::ObjectKey> owners{{kVm, kWeb}};
  for (const auto type : {HostObjectType::Tap, HostObjectType::VmDirectory, HostObjectType::Process, HostObjectType::DmNode}) {
    const auto kept = classify({thing(type, kVm, "somebody", true)}, owners, false).front();
    CHECK(kept.fate == Fate::Kept);
    CHECK(kept.owner == kWeb);
    CHECK_FALSE(is_orphan(kept));
    for (const auto belonging : {Belonging::OtherDaemon, Belonging::Unproven, Belonging::Foreign}) {
      auto other = thing(type, kVm);
      other.belonging = belonging;
      const auto left = classify({other}, owners, false).front();
      CHECK(left.fate == Fate::LeftAlone);
      CHECK_FALSE(left.owner);
      CHECK_FALSE(left.reason.empty());
      other.uid.clear();
      CHECK(fate_of(other) == Fate::LeftAlone);
    }
  }
  CHECK(fate_of(thing(HostObjectType::Tap, kVm)) == Fate::Collected);
}

TEST_CASE("an orphan goes by itself unless it runs, holds data, is under something, or nothing may go now") {
  const auto process = thing(HostObjectType::Process, kVm);
  CHECK(fate_of(process) == Fate::NeedsConfirmation);
  CHECK(fate_of(thing(HostObjectType::Tap, kVm), {process}) == Fate::NeedsConfirmation);
  CHECK(fate_of(thing(HostObjectType::Tap, kNetwork), {process}) == Fate::Collected);
  CHECK(fate_of(thing(HostObjectType::VmDirectory, kVm, "", true)) == Fate::NeedsConfirmation);
  CHECK(fate_of(thing(HostObjectType::VmDirectory, kVm)) == Fate::Collected);
  CHECK(fate_of(thing(HostObjectType::VmDirectory, kVm, "/dev/loop2", true)) == Fate::Waits);
  CHECK(fate_of(thing(HostObjectType::Bridge, kNetwork, "2 ports")) == Fate::Waits);
  CHECK(fate_of(thing(HostObjectType::NatTable, kNetwork, "2 ports of br")) == Fate::Waits);
  CHECK(fate_of(thing(HostObjectType::Loop, kVm, "banger-x")) == Fate::Waits);
  CHECK(fate_of(thing(HostObjectType::Loop, kVm)) == Fate::Waits);
  CHECK(fate_of(thing(HostObjectType::Tap, kVm), {}, true) == Fate::Waits);
  auto foreign = process;
  foreign.belonging = Belonging::OtherDaemon;
  CHECK(fate_of(thing(HostObjectType::Tap, kVm), {foreign}) == Fate::Collected);
}

TEST_CASE("a run directory finds its owner by the short id, all that is left of the uid there") {
  const auto directory = thing(HostObjectType::RunDirectory, *actuators::uid_of_short_id(actuators::short_id(kVm)));
  CHECK(classify({directory}, {{kVm, kWeb}}, false).front().owner == kWeb);
  CHECK(fate_of(directory) == Fate::Collected);
}

TEST_CASE("a machine goes node first and directory last, and its network after it") {
  std::vector<HostObject> all;
  for (const auto type : {HostObjectType::VmDirectory, HostObjectType::RunDirectory, HostObjectType::Cgroup, HostObjectType::Loop,
                          HostObjectType::Tap, HostObjectType::DmNode}) {
    all.push_back(thing(type, kVm, "", type == HostObjectType::VmDirectory));
  }
  for (const auto type : {HostObjectType::Bridge, HostObjectType::NatTable}) all.push_back(thing(type, kNetwork));
  const auto rows = classify(all, {}, false);
  CHECK(names(plan_teardown(rows, Permission::Everything)) ==
        std::vector<std::string>{"DeactivateRootDisk", "RemoveLink", "RemoveCgroup", "ClearRunDirectory", "RemoveVmDirectory",
                                 "RemoveNat", "RemoveLink"});
  CHECK(names(plan_teardown(rows, Permission::Harmless)) == std::vector<std::string>{"DeactivateRootDisk", "RemoveLink",
                                                                                     "RemoveCgroup", "ClearRunDirectory",
                                                                                     "RemoveNat", "RemoveLink"});
}

TEST_CASE("nothing under a living VMM is taken away: it is ended first, and only when somebody says so") {
  const std::vector<HostObject> all{thing(HostObjectType::Process, kVm), thing(HostObjectType::Tap, kVm),
                                    thing(HostObjectType::VmDirectory, kVm, "", true)};
  const auto rows = classify(all, {}, false);
  CHECK(plan_teardown(rows, Permission::Harmless).empty());
  const auto plan = plan_teardown(rows, Permission::Everything);
  CHECK(names(plan) == std::vector<std::string>{"KillVmm"});
  CHECK_FALSE(plan.front().waits_for.empty());
  const auto emptying = classify({thing(HostObjectType::Cgroup, kVm, "1 process"), thing(HostObjectType::Tap, kVm)}, {}, false);
  CHECK(plan_teardown(emptying, Permission::Harmless).empty());
  CHECK(names(plan_teardown(emptying, Permission::Everything)) == std::vector<std::string>{"KillVmm"});
}

TEST_CASE("a running machine of which the store knows nothing is listed, left alone, and goes when somebody says so") {
  GarbageBench bench;
  bench.launch(kVm);
  CHECK(bench.orphans() == 8);  // shim, VMM, tap, table, bridge, group, run directory, directory
  CHECK(bench.metrics.text().find("banger_orphans 8") != std::string::npos);
  const auto before = bench.host.mutations();
  const auto harmless = bench.collect(Permission::Harmless);
  CHECK(harmless.done.empty());
  CHECK_FALSE(harmless.unfinished);
  CHECK(bench.host.mutations() == before);
  for (int i = 0; i < 3; ++i) bench.collector.run();
  CHECK(bench.host.mutations() == before);

  const auto first = bench.collect(Permission::Everything);
  CHECK(first.unfinished);
  CHECK(bench.host.vmm_count(kVm) == 0);
  auto last = bench.collect(Permission::Everything);
  for (int i = 0; i < 5 && last.unfinished; ++i) last = bench.collect(Permission::Everything);
  CHECK_FALSE(last.unfinished);
  CHECK(last.failed.empty());
  CHECK(last.rows.empty());
  CHECK(bench.host.leftovers().empty());
  CHECK(bench.host.links().empty());
  CHECK(bench.metrics.text().find("banger_orphans 0") != std::string::npos);
}

TEST_CASE("an orphaned machine ends and goes also when somebody suspended its root device and its directory is lost") {
  GarbageBench bench;
  bench.launch(kVm, true);
  bench.host.suspend(kVm);
  bench.host.lose_directory(kVm);
  const auto before = bench.host.mutations();
  CHECK(bench.collect(Permission::Harmless).done.empty());
  CHECK(bench.host.mutations() == before);
  for (int i = 0; i < 3; ++i) CHECK(bench.collect(Permission::Everything).failed.empty());
  CHECK(bench.orphans() == 0);
  CHECK(bench.host.nodes().empty());
  CHECK(bench.host.vmm_count(kVm) == 0);
}

TEST_CASE("by itself the daemon takes only what was an orphan twice, no data, and nothing in adopt mode") {
  GarbageBench bench;
  bench.launch(kVm);
  bench.host.exit_vmm(kVm, {.reason = "Crashed", .finished = {}, .message = ""});
  REQUIRE(bench.adopt_mode.enter("manifests were not read yet"));
  for (int i = 0; i < 3; ++i) bench.collector.run();
  CHECK(bench.orphans() == 6);
  const auto refused = bench.collector.collect(Permission::Everything);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::Conflict);
  CHECK(refused.error().message.find("manifests were not read yet") != std::string::npos);
  CHECK(bench.orphans() == 6);
  CHECK(bench.adopt_mode.leave());
  bench.collector.run();
  bench.collector.run();
  const auto left = bench.look();
  REQUIRE(left.rows.size() == 1);  // the disks
  CHECK(left.rows[0].object.type == HostObjectType::VmDirectory);
  CHECK(left.rows[0].fate == Fate::NeedsConfirmation);
  CHECK(bench.host.disk_exists(kVm, "root"));
}

TEST_CASE("an orphan that is new is not taken at the first look") {
  GarbageBench bench;
  bench.must(actuators::MakeBridge{.network_uid = kNetwork, .name = "br", .address = "10.1.2.1/24"});
  bench.collector.run();
  CHECK(bench.host.links().size() == 1);
  bench.collector.run();
  CHECK(bench.host.links().empty());
}

TEST_CASE("an orphan that becomes a new object's between the look and the act is left to it") {
  RacingStore racing;
  GarbageBench bench(racing);
  bench.launch(kVm);
  bench.host.exit_vmm(kVm, {.reason = "Crashed", .finished = {}, .message = ""});
  bench.objects.claim({{kWeb, kVm}});
  const auto before = bench.host.mutations();
  racing.lists_to_pass = kOwningKindCount - 1;
  racing.after_list = [&] { REQUIRE(bench.objects.create(web())); };
  CHECK(bench.collect(Permission::Everything).done.empty());
  CHECK(bench.stored_uid() == kVm);
  CHECK(bench.host.mutations() == before);
}

TEST_CASE("a collection takes nothing of an object that is being created under a claim") {
  RacingStore racing;
  GarbageBench bench(racing);
  bench.launch(kVm);
  bench.host.exit_vmm(kVm, {.reason = "Crashed", .finished = {}, .message = ""});
  bench.objects.claim({{kWeb, kVm}});
  racing.at_next_create = [&] { (void)bench.collect(Permission::Everything); };  // it has its uid, and is not stored yet
  REQUIRE(bench.objects.create(web()));
  CHECK(bench.stored_uid() == kVm);
  CHECK(bench.host.disk_exists(kVm, "root"));
  CHECK(bench.orphans() == 2);  // the network's: nobody claims them
}

TEST_CASE("who is created under the name of what is being collected is somebody new") {
  RacingStore racing;
  GarbageBench bench(racing);
  bench.launch(kVm);
  bench.host.exit_vmm(kVm, {.reason = "Crashed", .finished = {}, .message = ""});
  bench.objects.claim({{kWeb, kVm}});
  racing.lists_to_pass = 2 * kOwningKindCount - 1;  // for the look, and again before the act
  racing.after_list = [&] { REQUIRE(bench.objects.create(web())); };
  const auto report = bench.collect(Permission::Everything);
  CHECK(report.done.size() > 2);
  CHECK(bench.stored_uid() != kVm);
  CHECK_FALSE(bench.host.disk_exists(kVm, "root"));
}

TEST_CASE("foreign things of our names and another daemon's are untouched") {
  GarbageBench bench;
  bench.host.add_link({.name = actuators::tap_name(kVm, 0), .kind = "tun", .alias = "", .master = "", .addresses = {}});
  bench.host.add_link({.name = actuators::bridge_name(kVm), .kind = "bridge", .alias = "mine", .master = "", .addresses = {}});
  bench.host.add_link({.name = actuators::tap_name(kNetwork, 1),
                       .kind = "tun",
                       .alias = actuators::label_text({kNetwork, "89abcdef", kWeb}),
                       .master = "",
                       .addresses = {}});
  bench.host.add_nat({.table = actuators::nat_table_name(kVm), .comment = "mine", .bridge = "", .cidr = ""});
  const auto before = bench.host.links();
  CHECK(bench.orphans() == 0);
  CHECK(bench.look().rows.size() == 4);
  for (int i = 0; i < 3; ++i) bench.collector.run();
  CHECK(bench.collect(Permission::Everything).done.empty());
  CHECK(bench.host.links() == before);
  CHECK(bench.look().rows.size() == 4);
}

TEST_CASE("what only a label that tells no daemon says to be ours is listed and never collected") {
  GarbageBench bench;
  const auto tap = actuators::tap_name(kVm, 0);
  bench.host.add_link({.name = tap, .kind = "tun", .alias = actuators::label_text({.uid = kVm}), .master = "", .addresses = {}});
  const auto comment = actuators::label_text({.uid = kNetwork});
  bench.host.add_nat({.table = actuators::nat_table_name(kNetwork), .comment = comment, .bridge = "", .cidr = ""});
  CHECK(bench.orphans() == 0);
  for (int i = 0; i < 3; ++i) bench.collector.run();
  CHECK(bench.collect(Permission::Everything).done.empty());
  const auto rows = bench.look().rows;
  REQUIRE(rows.size() == 2);
  for (const auto& row : rows) {
    CHECK(row.fate == Fate::LeftAlone);
    CHECK(row.reason == "nothing proves which daemon made it");
  }
  auto owner = web();
  owner.meta.uid = kVm;
  REQUIRE(bench.used.create(owner));
  bench.must(actuators::MakeVmDirectory{.vm_uid = kVm, .addresses = {}});
  const auto kept = bench.look().rows;
  const auto row = std::ranges::find(kept, tap, [](const auto& each) { return each.object.name; });
  REQUIRE(row != kept.end());
  CHECK(row->fate == Fate::Kept);
  CHECK(row->owner == kWeb);
}

TEST_CASE("a step that cannot go on is told with its reason, and what stands on it stays") {
  GarbageBench bench;
  bench.launch(kVm);
  bench.host.exit_vmm(kVm, {.reason = "Crashed", .finished = {}, .message = ""});
  bench.host.fail_next("RemoveLink", {ErrorCode::Busy, "somebody has it open"}, actuators::sim::FaultPoint::BeforeEffect);
  const auto report = bench.collect(Permission::Everything);
  REQUIRE(report.failed.size() == 1);
  CHECK(report.failed[0].find("somebody has it open") != std::string::npos);
  CHECK(bench.host.disk_exists(kVm, "root"));
}

TEST_CASE("how full a copy-on-write file is can be read off the metrics while its disk is active") {
  GarbageBench bench;
  const auto created = bench.objects.create(
      {.meta = {.name = "web", .ns = "default"}, .body = api::VirtualMachine{.spec = {.image = "demo"}, .status = {}}});
  REQUIRE(created);
  const auto fill = [&](std::optional<std::int64_t> percent, const std::string& condition = "") {
    REQUIRE(bench.objects.edit_status(api::key_of(*created), [&](api::Object& object) -> Result<void> {
      auto& conditions = std::get<api::VirtualMachine>(object.body).status.conditions;
      conditions.clear();
      if (!condition.empty())
        conditions.push_back({.type = condition, .status = api::ConditionStatus::True, .reason = "Snapshot", .message = "it is"});
      std::get<api::VirtualMachine>(object.body).status.disks = {
          {.name = "root", .cow_size = mib(100), .cow_used_percent = percent}};
      return {};
    }));
    publish_cow_fill(bench.objects, bench.metrics);
    return bench.metrics.text();
  };
  CHECK(fill(50).find("banger_root_disk_cow_used_bytes{namespace=\"default\",name=\"web\"} 52428800\n") != std::string::npos);
  const auto says = [](const std::string& text, const std::string& metric, int value) {
    return text.find(fmt::format("banger_root_disk_cow_{}{{namespace=\"default\",name=\"web\"}} {}\n", metric, value)) !=
           std::string::npos;
  };
  CHECK((says(fill(100), "overflow", 0) && says(fill(100), "invalid", 0)));
  const auto full = fill(100, "RootDiskFull");
  CHECK((says(full, "overflow", 1) && says(full, "invalid", 0)));
  const auto lost = fill(100, "RootDiskInvalid");
  CHECK((says(lost, "overflow", 0) && says(lost, "invalid", 1)));
  CHECK(lost.find("banger_root_disk_cow_used_bytes{") == std::string::npos);
  CHECK(fill({}).find("name=\"web\"") == std::string::npos);
}

TEST_CASE("the document says of each thing what a person needs to decide") {
  GarbageBench bench;
  bench.launch(kVm);
  const auto text = document_of(bench.look());
  for (const auto* part : {R"("kind":"HostObjectList")", R"("type":"tap")", R"("fate":"NeedsConfirmation")", R"("label":"alias")",
                           R"("of":{"kind":"VirtualMachine","name":"web","namespace":"default"})", R"("belonging":"Ours")"}) {
    CAPTURE(part);
    CHECK(text.find(part) != std::string::npos);
  }
}

}  // namespace banger::controller
