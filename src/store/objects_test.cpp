// SPDX-License-Identifier: Apache-2.0
// The rules of the envelope, one by one.
#include "store/objects.hpp"

#include <doctest/doctest.h>

#include <thread>

#include "store/fixtures_test.hpp"
#include "store/naming.hpp"

namespace banger::store {
namespace {

using namespace std::chrono_literals;

struct World {
  std::unique_ptr<Store> store = make_memory_store();
  ManualClock clock{WallTime{1'800'000'000'750ms}};
  SeededRandom random{7};
  Objects objects{*store, clock, random};
};

template <class T>
T ok(WriteResult<T> result) {
  if (!result) FAIL(result.error().error.message);
  return *std::move(result);
}

api::Object fresh_vm(const std::string& name) {
  auto vm = make_vm(name);
  vm.meta.uid.clear();
  vm.meta.generation = 0;
  return vm;
}

api::VirtualMachineStatus& status_of(api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).status; }

constexpr WallTime kCreated{1'800'000'000s};  // whole seconds

TEST_CASE("create gives uid, creation time and generation 1, and drops what is not the user's") {
  World w;
  auto vm = fresh_vm("web");
  vm.meta.uid = "not for the user to choose";
  vm.meta.generation = 9;
  vm.meta.deletion_time = kCreated;
  vm.meta.creation_time = WallTime{1s};
  vm.meta.labels["app"] = "web";
  vm.meta.finalizers = {"banger.dev/vm"};
  vm.meta.owner_references = {{.api_version = "v1", .kind = "Pod", .name = "p", .uid = "u"}};
  status_of(vm).phase = "Running";
  const auto created = ok(w.objects.create(vm));

  CHECK(is_uid(created.meta.uid));
  CHECK(created.meta.generation == 1);
  CHECK(created.meta.creation_time == kCreated);
  CHECK(!created.meta.deletion_time);
  CHECK(created.meta.resource_version == 1);
  CHECK(created.meta.labels == vm.meta.labels);
  CHECK(created.meta.finalizers == vm.meta.finalizers);
  CHECK(created.meta.owner_references == vm.meta.owner_references);
  CHECK(std::get<api::VirtualMachine>(created.body).status == api::VirtualMachineStatus{});
  CHECK(must(w.store->get(vm_key("web"))) == created);
}

TEST_CASE("create refuses what validation refuses, with every field, and stores nothing") {
  World w;
  auto vm = fresh_vm("web");
  spec_of(vm).cpus = 99;
  const auto one = w.objects.create(vm);
  REQUIRE(!one);
  CHECK(one.error().error.code == ErrorCode::Invalid);
  REQUIRE(one.error().refusals.size() == 1);
  CHECK(one.error().refusals[0].field == "spec.cpus");
  CHECK(one.error().error.message ==
        "VirtualMachine.banger.dev \"web\" is invalid: spec.cpus: " + one.error().refusals[0].message);
  spec_of(vm).network_interfaces.resize(9, {.network = "default"});
  const auto two = w.objects.create(vm);
  REQUIRE(!two);
  CHECK(two.error().refusals.size() >= 2);
  CHECK(two.error().error.message.starts_with("VirtualMachine.banger.dev \"web\" is invalid: ["));
  CHECK(w.store->revision() == 0);
}

TEST_CASE("create refuses a resourceVersion and a taken name") {
  World w;
  auto vm = fresh_vm("web");
  vm.meta.resource_version = 3;
  const auto refused = w.objects.create(vm);
  REQUIRE(!refused);
  CHECK(refused.error().refusals.at(0).field == "metadata.resourceVersion");
  ok(w.objects.create(fresh_vm("web")));
  const auto taken = w.objects.create(fresh_vm("web"));
  REQUIRE(!taken);
  CHECK(taken.error().error.code == ErrorCode::AlreadyExists);
  CHECK(taken.error().refusals.empty());
}

// Gives the same bytes for the first uids, then goes on.
class RepeatingRandom final : public Random {
 public:
  explicit RepeatingRandom(int repeats) : left_(repeats) {}
  void fill(std::span<std::uint8_t> out) override {
    if (left_-- > 0) {
      std::ranges::fill(out, std::uint8_t{0x5a});
      out.back() = static_cast<std::uint8_t>(left_);  // another uid, the same first 50 bits
    } else {
      seeded_.fill(out);
    }
  }

 private:
  int left_;
  SeededRandom seeded_{1};
};

TEST_CASE("a uid whose short id is taken is drawn again") {
  World w;
  RepeatingRandom random(3);
  Objects objects(*w.store, w.clock, random);
  const auto first = ok(objects.create(fresh_vm("first")));
  const auto second = ok(objects.create(fresh_vm("second")));
  CHECK(first.meta.uid.starts_with("5a5a5a5a"));
  CHECK(short_id(first.meta.uid) != short_id(second.meta.uid));
  RepeatingRandom stuck(1000);
  const auto refused = Objects(*w.store, w.clock, stuck).create(fresh_vm("third"));
  REQUIRE(!refused);
  CHECK(refused.error().error.code == ErrorCode::Conflict);
}

TEST_CASE("update replaces labels, annotations, finalizers, owners and spec, and nothing else") {
  World w;
  const auto created = ok(w.objects.create(fresh_vm("web")));
  auto with_status = created;
  status_of(with_status).phase = "Running";
  ok(w.objects.update_status(with_status));
  w.clock.advance(1h);

  auto asked = fresh_vm("web");
  asked.meta.labels["a"] = "b";
  asked.meta.annotations["c"] = "d";
  asked.meta.finalizers = {"banger.dev/vm"};
  asked.meta.owner_references = {{.api_version = "v1", .kind = "Pod", .name = "p", .uid = "u"}};
  asked.meta.creation_time = WallTime{1s};
  asked.meta.deletion_time = WallTime{1s};
  asked.meta.generation = 50;
  spec_of(asked).cpus = 2;
  status_of(asked).phase = "Stopped";
  const auto updated = ok(w.objects.update(asked));

  auto expected = created;
  expected.meta.labels = asked.meta.labels;
  expected.meta.annotations = asked.meta.annotations;
  expected.meta.finalizers = asked.meta.finalizers;
  expected.meta.owner_references = asked.meta.owner_references;
  expected.meta.generation = 2;
  expected.meta.resource_version = 3;
  spec_of(expected).cpus = 2;
  status_of(expected).phase = "Running";
  CHECK(updated == expected);
}

TEST_CASE("the generation moves with the spec alone") {
  World w;
  auto vm = ok(w.objects.create(fresh_vm("web")));
  vm.meta.labels["a"] = "b";
  vm = ok(w.objects.update(vm));
  CHECK(vm.meta.generation == 1);
  spec_of(vm).memory = mib(512);
  vm = ok(w.objects.update(vm));
  CHECK(vm.meta.generation == 2);
  status_of(vm).phase = "Running";
  vm = ok(w.objects.update_status(vm));
  CHECK(vm.meta.generation == 2);
  CHECK(vm.meta.resource_version == 4);
}

TEST_CASE("writes that change nothing make no revision") {
  World w;
  const auto vm = ok(w.objects.create(fresh_vm("web")));
  CHECK(ok(w.objects.update(vm)) == vm);
  CHECK(ok(w.objects.update_status(vm)) == vm);
  CHECK(ok(w.objects.edit(vm_key("web"), [](api::Object&) -> Result<void> { return {}; })) == vm);
  auto other_status = vm;
  status_of(other_status).phase = "Running";
  CHECK(ok(w.objects.update(other_status)) == vm);  // its status is not looked at
  auto other_spec = vm;
  spec_of(other_spec).cpus = 3;
  CHECK(ok(w.objects.update_status(other_spec)) == vm);  // nor its spec here
  CHECK(w.store->revision() == 1);
}

TEST_CASE("a stale version or another uid is a Conflict in the words of Kubernetes") {
  World w;
  const auto vm = ok(w.objects.create(fresh_vm("web")));
  auto newer = vm;
  newer.meta.labels["a"] = "b";
  ok(w.objects.update(newer));
  auto stale = vm;
  stale.meta.labels["a"] = "c";
  for (const bool status : {false, true}) {
    const auto refused = status ? w.objects.update_status(stale) : w.objects.update(stale);
    REQUIRE(!refused);
    CHECK(refused.error().error ==
          Error{ErrorCode::Conflict,
                "Operation cannot be fulfilled on virtualmachines.banger.dev \"web\": the object has been modified; please apply "
                "your changes to the latest version and try again"});
  }
  stale.meta.resource_version = 0;
  stale.meta.uid = "8f5ccf0c-6f5c-4a49-8d3e-aaaaaaaaaaaa";
  const auto other = w.objects.update(stale);
  REQUIRE(!other);
  CHECK(other.error().error ==
        Error{ErrorCode::Conflict,
              "Operation cannot be fulfilled on virtualmachines.banger.dev \"web\": Precondition failed: UID in precondition: "
              "8f5ccf0c-6f5c-4a49-8d3e-aaaaaaaaaaaa, UID in object meta: " +
                  vm.meta.uid});
  stale.meta.uid.clear();
  CHECK(ok(w.objects.update(stale)).meta.labels.at("a") == "c");  // no version: whatever it is
}

TEST_CASE("an update of what is not there is NotFound, an invalid one Invalid") {
  World w;
  CHECK(w.objects.update(fresh_vm("web")).error().error.code == ErrorCode::NotFound);
  CHECK(w.objects.update_status(fresh_vm("web")).error().error.code == ErrorCode::NotFound);
  auto vm = ok(w.objects.create(fresh_vm("web")));
  spec_of(vm).cpus = 0;
  const auto refused = w.objects.update(vm);
  REQUIRE(!refused);
  CHECK(refused.error().error.code == ErrorCode::Invalid);
  CHECK(refused.error().refusals.at(0).field == "spec.cpus");
  CHECK(w.store->revision() == 1);
}

TEST_CASE("an object that would be refused today can still be released and reported on") {
  World w;
  auto vm = make_vm("old");  // stored below the rules, as an older version may have
  spec_of(vm).cpus = 99;
  vm.meta.finalizers = {"banger.dev/vm"};
  vm = must(w.store->create(vm));
  status_of(vm).phase = "Failed";
  vm = ok(w.objects.update_status(vm));
  CHECK(!ok(w.objects.remove(vm_key("old"), {})).gone);
  ok(w.objects.edit(vm_key("old"), [](api::Object& object) -> Result<void> {
    object.meta.finalizers.clear();
    return {};
  }));
  CHECK(w.store->get(vm_key("old")).error().code == ErrorCode::NotFound);
}

TEST_CASE("a kind without status refuses status writes") {
  World w;
  api::Object event{.body = api::Event{.reason = "Started"}};
  event.meta.name = "e";
  const auto refused = w.objects.update_status(event);
  REQUIRE(!refused);
  CHECK(refused.error().error == Error{ErrorCode::Invalid, "Event has no status"});
}

TEST_CASE("edit reads, changes and writes, and tries again when another was faster") {
  World w;
  ok(w.objects.create(fresh_vm("web")));
  int calls = 0;
  const auto edited = ok(w.objects.edit(vm_key("web"), [&](api::Object& vm) -> Result<void> {
    if (++calls < 3) {
      auto rival = must(w.store->get(vm_key("web")));
      rival.meta.annotations["rival"] = std::to_string(calls);
      must(w.store->update(rival));
    }
    spec_of(vm).cpus = 5;
    return {};
  }));
  CHECK(calls == 3);
  CHECK(spec_of(edited).cpus == 5);
  CHECK(edited.meta.annotations.at("rival") == "2");

  calls = 0;
  const auto beaten = w.objects.edit_status(vm_key("web"), [&](api::Object& vm) -> Result<void> {
    auto rival = must(w.store->get(vm_key("web")));
    rival.meta.annotations["rival"] = "again " + std::to_string(++calls);
    must(w.store->update(rival));
    status_of(vm).phase = "Running";
    return {};
  });
  REQUIRE(!beaten);
  CHECK(beaten.error().error.code == ErrorCode::Conflict);
  CHECK(calls == 8);
}

TEST_CASE("edit gives up with the error of its change, and may not rename") {
  World w;
  ok(w.objects.create(fresh_vm("web")));
  int calls = 0;
  const auto given_up = w.objects.edit(vm_key("web"), [&](api::Object&) -> Result<void> {
    ++calls;
    return fail({ErrorCode::Conflict, "not now"});
  });
  REQUIRE(!given_up);
  CHECK(given_up.error().error.message == "not now");
  CHECK(calls == 1);
  const auto renamed = w.objects.edit(vm_key("web"), [](api::Object& vm) -> Result<void> {
    vm.meta.name = "other";
    return {};
  });
  REQUIRE(!renamed);
  CHECK(renamed.error().error.code == ErrorCode::Invalid);
  CHECK(w.objects.edit(vm_key("gone"), [](api::Object&) -> Result<void> { return {}; }).error().error.code ==
        ErrorCode::NotFound);
}

TEST_CASE("an object without finalizers goes at once") {
  World w;
  const auto vm = ok(w.objects.create(fresh_vm("web")));
  const auto deleted = ok(w.objects.remove(vm_key("web"), {}));
  CHECK(deleted.gone);
  CHECK(deleted.object.meta.uid == vm.meta.uid);
  CHECK(deleted.object.meta.resource_version == 2);
  CHECK(w.objects.remove(vm_key("web"), {}).error().error.code == ErrorCode::NotFound);
}

TEST_CASE("finalizers hold a deleted object until the last is taken off") {
  World w;
  auto vm = fresh_vm("web");
  vm.meta.finalizers = {"banger.dev/vm", "example.org/backup"};
  vm = ok(w.objects.create(vm));
  w.clock.advance(90s);
  auto deleted = ok(w.objects.remove(vm_key("web"), {}));
  CHECK(!deleted.gone);
  CHECK(deleted.object.meta.deletion_time == kCreated + 90s);
  CHECK(deleted.object.meta.generation == 2);
  w.clock.advance(90s);
  CHECK(ok(w.objects.remove(vm_key("web"), {})).object == deleted.object);  // once
  CHECK(w.store->revision() == 2);

  vm = deleted.object;
  vm.meta.deletion_time = std::nullopt;  // cannot be taken back
  vm.meta.finalizers = {"example.org/backup"};
  vm = ok(w.objects.update(vm));
  CHECK(vm.meta.deletion_time == kCreated + 90s);
  vm.meta.finalizers.clear();
  vm.meta.labels["last"] = "words";
  const auto last = ok(w.objects.update(vm));
  CHECK(last.meta.resource_version == 4);
  CHECK(last.meta.finalizers.empty());
  CHECK(last.meta.labels.at("last") == "words");
  CHECK(w.store->get(vm_key("web")).error().code == ErrorCode::NotFound);
  auto watch = must(w.store->watch({.after = 3}));
  CHECK(must(watch->next(10, 0ms)).at(0).type == ChangeType::Deleted);
}

TEST_CASE("taking the finalizers off a living object does not remove it") {
  World w;
  auto vm = fresh_vm("web");
  vm.meta.finalizers = {"banger.dev/vm"};
  vm = ok(w.objects.create(vm));
  vm.meta.finalizers.clear();
  ok(w.objects.update(vm));
  CHECK(w.store->get(vm_key("web")).has_value());
}

TEST_CASE("an object that is being deleted takes spec and status, but no new finalizer") {
  World w;
  auto vm = fresh_vm("web");
  vm.meta.finalizers = {"banger.dev/vm"};
  ok(w.objects.create(vm));
  vm = ok(w.objects.remove(vm_key("web"), {})).object;
  spec_of(vm).cpus = 2;
  vm = ok(w.objects.update(vm));
  CHECK(vm.meta.generation == 3);
  status_of(vm).phase = "Deleting";
  vm = ok(w.objects.update_status(vm));
  vm.meta.finalizers = {"banger.dev/vm", "late"};
  const auto refused = w.objects.update(vm);
  REQUIRE(!refused);
  CHECK(refused.error().error.code == ErrorCode::Invalid);
  CHECK(refused.error().refusals.at(0) ==
        api::Refusal{.field = "metadata.finalizers",
                     .reason = "FieldValueForbidden",
                     .message = "no new finalizers can be added while the object is being deleted, found \"late\""});
}

TEST_CASE("deletion preconditions on uid and version") {
  World w;
  const auto vm = ok(w.objects.create(fresh_vm("web")));
  const auto other_uid = w.objects.remove(vm_key("web"), {.uid = "x"});
  REQUIRE(!other_uid);
  CHECK(other_uid.error().error.code == ErrorCode::Conflict);
  CHECK(other_uid.error().error.message.find("UID in precondition: x") != std::string::npos);
  const auto other_version = w.objects.remove(vm_key("web"), {.resource_version = 7});
  REQUIRE(!other_version);
  CHECK(other_version.error().error.message.find("ResourceVersion in precondition: 7, ResourceVersion in object meta: 1") !=
        std::string::npos);
  CHECK(ok(w.objects.remove(vm_key("web"), {.uid = vm.meta.uid, .resource_version = 1})).gone);
}

TEST_CASE("many editors at once each have their edit in the end") {
  World w;
  ok(w.objects.create(fresh_vm("web")));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&w, t] {
        for (int i = 0; i < 25; ++i) {
          const auto label = std::to_string(t) + "-" + std::to_string(i);
          while (!w.objects.edit(vm_key("web"), [&](api::Object& vm) -> Result<void> {
            vm.meta.labels[label] = "x";
            return {};
          })) {
          }
        }
      });
    }
  }
  CHECK(must(w.store->get(vm_key("web"))).meta.labels.size() == 100);
}

TEST_CASE("an object that is created under a claimed key gets the claimed uid, once") {
  World w;
  const auto claimed = make_vm("x").meta.uid;
  const auto other = make_vm("y").meta.uid;
  w.objects.claim({{vm_key("web"), claimed}, {vm_key("db"), other}});
  CHECK(ok(w.objects.create(fresh_vm("web"))).meta.uid == claimed);
  CHECK(w.objects.claims().size() == 1);
  ok(w.objects.remove(vm_key("web"), {}));
  CHECK(ok(w.objects.create(fresh_vm("web"))).meta.uid != claimed);
  CHECK(w.objects.withdraw_claim(other));
  CHECK(ok(w.objects.create(fresh_vm("db"))).meta.uid != other);
}

TEST_CASE("a claim is withdrawn by any uid of its short id") {
  World w;
  const auto claimed = make_vm("x").meta.uid;
  w.objects.claim({{vm_key("web"), claimed}});
  CHECK(w.objects.withdraw_claim(make_vm("y").meta.uid));
  CHECK(w.objects.claims().size() == 1);
  auto other = claimed;  // the last digits are not in the short id
  other.back() = other.back() == 'a' ? 'b' : 'a';
  CHECK(w.objects.withdraw_claim(other));
  CHECK(w.objects.claims().empty());
}

TEST_CASE("a refused create keeps the claim, and a claim on a living object's uid is void") {
  World w;
  const auto living = ok(w.objects.create(fresh_vm("a")));
  w.objects.claim({{vm_key("b"), living.meta.uid}});
  auto bad = fresh_vm("b");
  spec_of(bad).cpus = 99;
  CHECK(!w.objects.create(bad));
  CHECK(w.objects.claims().size() == 1);
  CHECK(ok(w.objects.create(fresh_vm("b"))).meta.uid != living.meta.uid);
  CHECK(w.objects.claims().empty());
}

}  // namespace
}  // namespace banger::store
