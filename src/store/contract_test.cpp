// SPDX-License-Identifier: Apache-2.0
// The contract of store.hpp, on both stores.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "store/fixtures_test.hpp"
#include "store/naming.hpp"
#include "store/visit.hpp"

namespace banger::store {
namespace {

using namespace std::chrono_literals;

struct OnMemory {
  std::unique_ptr<Store> store = make_memory_store();
};

struct OnRocksdb {
  TempDirectory directory;
  std::unique_ptr<Store> store = must_open(directory.store());
};

#define ON_BOTH(name) TEST_CASE_TEMPLATE(name, Fixture, OnMemory, OnRocksdb)

api::Object stored(Store& store, const api::Object& object) { return must(store.create(object)); }

std::vector<Change> changes_after(Store& store, Revision after) {
  auto watch = must(store.watch({.after = after}));
  std::vector<Change> all;
  while (watch->delivered() < store.revision()) {
    auto some = must(watch->next(100, 0ms));
    std::ranges::move(some, std::back_inserter(all));
  }
  return all;
}

std::vector<std::string> names(const Listing& listing) {
  std::vector<std::string> out;
  for (const auto& object : listing.objects) out.push_back(object.meta.ns + "/" + object.meta.name);
  return out;
}

ON_BOTH("a new store is empty, at revision 0") {
  Fixture f;
  CHECK(f.store->revision() == 0);
  CHECK(f.store->compacted() == 0);
  CHECK(!f.store->poisoned());
  CHECK(must(f.store->list({})) == Listing{});
  CHECK(f.store->get(vm_key("web")).error() == Error{ErrorCode::NotFound, "virtualmachines.banger.dev \"web\" not found"});
}

ON_BOTH("a created object is read back with the revision of its write") {
  Fixture f;
  auto vm = make_vm("web");
  vm.meta.labels = {{"app", "web"}};
  vm.meta.resource_version = 77;  // the store's business
  const auto created = stored(*f.store, vm);
  vm.meta.resource_version = 1;
  CHECK(created == vm);
  CHECK(must(f.store->get(vm_key("web"))) == vm);
  CHECK(f.store->revision() == 1);
}

ON_BOTH("creating a name that is taken leaves the first object alone") {
  Fixture f;
  const auto first = stored(*f.store, make_vm("web"));
  CHECK(f.store->create(make_vm("web")).error() ==
        Error{ErrorCode::AlreadyExists, "virtualmachines.banger.dev \"web\" already exists"});
  CHECK(must(f.store->get(vm_key("web"))) == first);
  CHECK(f.store->revision() == 1);
}

ON_BOTH("a list has one kind, ordered by namespace and name, and the revision of its snapshot") {
  Fixture f;
  for (const auto* ns : {"b", "a", "ab"}) {
    for (const auto* name : {"y", "x", "xx"}) stored(*f.store, make_vm(name, ns));
  }
  stored(*f.store, make_network("x"));
  const auto all = must(f.store->list({.kind = api::Kind::VirtualMachine}));
  CHECK(names(all) == std::vector<std::string>{"a/x", "a/xx", "a/y", "ab/x", "ab/xx", "ab/y", "b/x", "b/xx", "b/y"});
  CHECK(all.revision == 10);
  const auto some = must(f.store->list({.kind = api::Kind::VirtualMachine, .ns = "a"}));
  CHECK(names(some) == std::vector<std::string>{"a/x", "a/xx", "a/y"});
  CHECK(must(f.store->list({.kind = api::Kind::VirtualMachine, .ns = "c"})).objects.empty());
  CHECK(names(must(f.store->list({.kind = api::Kind::Network}))) == std::vector<std::string>{"/x"});
}

ON_BOTH("an update needs the current version") {
  Fixture f;
  auto vm = stored(*f.store, make_vm("web"));
  spec_of(vm).cpus = 2;
  const auto updated = must(f.store->update(vm));
  CHECK(updated.meta.resource_version == 2);
  CHECK(spec_of(must(f.store->get(vm_key("web")))).cpus == 2);

  spec_of(vm).cpus = 3;
  CHECK(f.store->update(vm).error() ==
        Error{ErrorCode::Conflict,
              "Operation cannot be fulfilled on virtualmachines.banger.dev \"web\": the object has been modified; please apply "
              "your changes to the latest version and try again"});
  vm.meta.resource_version = 0;
  CHECK(f.store->update(vm).error().code == ErrorCode::Conflict);
  vm.meta.resource_version = 99;
  CHECK(f.store->update(vm).error().code == ErrorCode::Conflict);
  CHECK(must(f.store->get(vm_key("web"))) == updated);
  CHECK(f.store->revision() == 2);
  CHECK(f.store->update(make_vm("other")).error().code == ErrorCode::NotFound);
}

ON_BOTH("an update that changes nothing makes no revision") {
  Fixture f;
  const auto vm = stored(*f.store, make_vm("web"));
  CHECK(must(f.store->update(vm)) == vm);
  CHECK(f.store->revision() == 1);
  CHECK(changes_after(*f.store, 0).size() == 1);
}

ON_BOTH("a removed object is gone, and its last state carries the revision of the deletion") {
  Fixture f;
  const auto vm = stored(*f.store, make_vm("web"));
  CHECK(f.store->remove(vm_key("web"), 7).error().code == ErrorCode::Conflict);
  auto expected = vm;
  expected.meta.resource_version = 2;
  CHECK(must(f.store->remove(vm_key("web"), 1)) == expected);
  CHECK(f.store->get(vm_key("web")).error().code == ErrorCode::NotFound);
  CHECK(f.store->remove(vm_key("web"), {}).error().code == ErrorCode::NotFound);
  CHECK(must(f.store->list({})).objects.empty());

  CHECK(stored(*f.store, vm).meta.resource_version == 3);  // name and uid are free again
  CHECK(must(f.store->remove(vm_key("web"), {})).meta.resource_version == 4);
  CHECK(f.store->revision() == 4);
}

ON_BOTH("two living objects never share the short id of their uids") {
  Fixture f;
  auto first = make_vm("first");
  auto second = make_network("second");
  first.meta.uid = "01234567-89ab-4def-8123-456789abcdef";
  second.meta.uid = "01234567-89ab-4000-8000-000000000000";
  stored(*f.store, first);
  const auto refused = f.store->create(second);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::Conflict);
  CHECK(refused.error().message.find("short id") != std::string::npos);
  must(f.store->remove(vm_key("first"), {}));
  stored(*f.store, second);
}

ON_BOTH("the uid of a stored object cannot change") {
  Fixture f;
  auto vm = stored(*f.store, make_vm("web"));
  vm.meta.uid = make_vm("other").meta.uid;
  CHECK(f.store->update(vm).error().code == ErrorCode::Invalid);
}

ON_BOTH("objects that cannot be stored are refused") {
  Fixture f;
  auto vm = make_vm("big");
  vm.meta.annotations["a"] = std::string(1536U << 10U, 'x');
  const auto big = f.store->create(vm);
  REQUIRE(!big);
  CHECK(big.error().code == ErrorCode::Invalid);
  CHECK(big.error().message.find("at most 1572864") != std::string::npos);
  CHECK(f.store->create(make_vm("")).error().code == ErrorCode::Invalid);
  CHECK(f.store->create(make_vm(std::string("a\0b", 3))).error().code == ErrorCode::Invalid);
  CHECK(f.store->create(make_vm("a", std::string("a\0b", 3))).error().code == ErrorCode::Invalid);
  CHECK(f.store->revision() == 0);
}

ON_BOTH("a watch tells every change after its revision, in order, with what was before") {
  Fixture f;
  const auto created = stored(*f.store, make_vm("web"));
  auto wanted = created;
  spec_of(wanted).cpus = 4;
  const auto updated = must(f.store->update(wanted));
  const auto network = stored(*f.store, make_network("n"));
  const auto removed = must(f.store->remove(vm_key("web"), {}));

  const std::vector<Change> expected{
      {.revision = 1, .type = ChangeType::Added, .object = created},
      {.revision = 2, .type = ChangeType::Modified, .object = updated, .previous = created},
      {.revision = 3, .type = ChangeType::Added, .object = network},
      {.revision = 4, .type = ChangeType::Deleted, .object = removed, .previous = updated},
  };
  CHECK(changes_after(*f.store, 0) == expected);
  CHECK(changes_after(*f.store, 3) == std::vector<Change>(expected.begin() + 3, expected.end()));
  CHECK(changes_after(*f.store, 4).empty());

  auto watch = must(f.store->watch({.kind = api::Kind::Network, .after = 0}));
  CHECK(must(watch->next(10, 0ms)) == std::vector<Change>{expected[2]});
  CHECK(must(watch->next(10, 0ms)).empty());
  CHECK(watch->delivered() == 4);

  watch = must(f.store->watch({.after = 0}));
  CHECK(must(watch->next(3, 0ms)) == std::vector<Change>(expected.begin(), expected.begin() + 3));
  CHECK(watch->delivered() == 3);
  CHECK(must(watch->next(3, 0ms)) == std::vector<Change>{expected[3]});
}

ON_BOTH("a watch waits for the next change") {
  Fixture f;
  auto watch = must(f.store->watch({.after = 0}));
  CHECK(must(watch->next(10, 1ms)).empty());
  std::jthread writer([&] { stored(*f.store, make_vm("web")); });
  const auto changes = must(watch->next(10, 60s));
  REQUIRE(changes.size() == 1);
  CHECK(must(f.store->get(vm_key("web"))) == changes[0].object);
}

ON_BOTH("a watch from the future is refused, one from before the compaction is Gone") {
  Fixture f;
  for (const auto* name : {"a", "b", "c"}) stored(*f.store, make_vm(name));
  CHECK(f.store->watch({.after = 4}).error().code == ErrorCode::Invalid);
  CHECK(f.store->compact(4).error().code == ErrorCode::Invalid);
  auto early = must(f.store->watch({.after = 1}));
  auto late = must(f.store->watch({.after = 2}));
  must(f.store->compact(2));
  CHECK(f.store->compacted() == 2);
  CHECK(f.store->watch({.after = 1}).error().code == ErrorCode::Gone);
  CHECK(early->next(1, 0ms).error().code == ErrorCode::Gone);
  CHECK(must(late->next(10, 0ms)).size() == 1);
  CHECK(changes_after(*f.store, 2).size() == 1);
  must(f.store->compact(1));
  CHECK(f.store->compacted() == 2);
  must(f.store->compact(3));
  CHECK(must(f.store->list({})).objects.size() == 3);
  CHECK(must(f.store->watch({.after = 3}))->delivered() == 3);
}

ON_BOTH("a deletion at the boundary of a compaction is still told") {
  Fixture f;
  stored(*f.store, make_vm("web"));
  must(f.store->remove(vm_key("web"), {}));
  must(f.store->compact(1));
  const auto changes = changes_after(*f.store, 1);
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].type == ChangeType::Deleted);
  CHECK(changes[0].previous->meta.resource_version == 1);
}

// Fills the changelog fast: many writers share a sync.
void write_many(Store& store, int count) {
  std::vector<std::jthread> threads;
  constexpr int kThreads = 32;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&store, t, count] {
      auto vm = make_vm("many-" + std::to_string(t));
      vm = *store.create(vm);
      for (int i = 1; i < count / kThreads; ++i) {
        spec_of(vm).memory = mib(static_cast<std::uint64_t>(i));
        vm = *store.update(vm);
      }
    });
  }
}

ON_BOTH("a watcher that fell 4096 changes behind is cut, one that begins further back catches up") {
  Fixture f;
  auto slow = must(f.store->watch({.after = 0}));
  auto reader = must(f.store->watch({.after = 0}));
  CHECK(must(slow->next(1, 0ms)).empty());  // up to date, from here on it sleeps
  write_many(*f.store, 4096);
  CHECK(f.store->revision() == 4096);
  CHECK(must(reader->next(1, 0ms)).size() == 1);
  CHECK(must(slow->next(1, 0ms)).size() == 1);
  stored(*f.store, make_vm("one-more"));
  stored(*f.store, make_vm("two-more"));
  const auto cut = slow->next(1, 0ms);
  REQUIRE(!cut);
  CHECK(cut.error().code == ErrorCode::Gone);
  CHECK(cut.error().message.find("fell 4097 changes behind") != std::string::npos);

  const auto all = changes_after(*f.store, 0);
  REQUIRE(all.size() == 4098);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].revision != i + 1) FAIL("revision " << all[i].revision << " at place " << i);
    if (all[i].object.meta.resource_version != i + 1) FAIL("object of revision " << all[i].revision);
  }
}

ON_BOTH("waking a watch ends its wait, also when it comes first") {
  Fixture f;
  auto watch = must(f.store->watch({.after = 0}));
  std::jthread waker([&] { watch->wake(); });
  CHECK(must(watch->next(10, 60s)).empty());
  waker.join();
  watch->wake();
  CHECK(must(watch->next(10, 60s)).empty());
  watch->wake();
  stored(*f.store, make_vm("web"));
  CHECK(must(watch->next(10, 60s)).size() == 1);  // what is there goes first
}

ON_BOTH("a watch that outlives its store says so") {
  Fixture f;
  auto watch = must(f.store->watch({.after = 0}));
  std::jthread closer([&] { f.store.reset(); });
  const auto answer = watch->next(10, 60s);
  REQUIRE(!answer);
  CHECK(answer.error().code == ErrorCode::Unavailable);
}

ON_BOTH("writers at once all get revisions of their own, and nothing acknowledged is missing") {
  Fixture f;
  constexpr int kThreads = 8;
  constexpr int kWrites = 40;
  std::vector<std::vector<api::Object>> acknowledged(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kWrites; ++i) {
          auto created = f.store->create(make_vm("vm-" + std::to_string(t) + "-" + std::to_string(i)));
          if (created) acknowledged[static_cast<std::size_t>(t)].push_back(*created);
        }
      });
    }
  }
  std::set<Revision> revisions;
  for (const auto& of_thread : acknowledged) {
    CHECK(of_thread.size() == kWrites);
    Revision last = 0;
    for (const auto& object : of_thread) {
      CHECK(object.meta.resource_version > last);
      last = object.meta.resource_version;
      revisions.insert(last);
      CHECK(must(f.store->get(api::key_of(object))) == object);
    }
  }
  CHECK(revisions.size() == kThreads * kWrites);
  CHECK(f.store->revision() == kThreads * kWrites);
}

ON_BOTH("compare-and-set lets one of many writers through: no increment is lost") {
  Fixture f;
  auto vm = make_vm("counter");
  vm.meta.generation = 0;
  stored(*f.store, vm);
  constexpr int kThreads = 8;
  constexpr int kEach = 20;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (int done = 0; done < kEach;) {
          auto now = *f.store->get(vm_key("counter"));
          ++now.meta.generation;
          if (f.store->update(now)) ++done;
        }
      });
    }
  }
  CHECK(must(f.store->get(vm_key("counter"))).meta.generation == kThreads * kEach);
  CHECK(f.store->revision() == 1 + kThreads * kEach);
}

ON_BOTH("a list and a watch from its revision rebuild the state while others write") {
  Fixture f;
  std::jthread writer([&] {
    for (int i = 0; i < 200; ++i) {
      const auto name = "vm-" + std::to_string(i % 20);
      if (auto now = f.store->get(vm_key(name)); !now) {
        stored(*f.store, make_vm(name));
      } else if (i % 3 == 0) {
        must(f.store->remove(vm_key(name), {}));
      } else {
        ++spec_of(*now).cpus;
        must(f.store->update(*now));
      }
    }
    stored(*f.store, make_vm("end"));
  });
  while (f.store->revision() < 20) std::this_thread::yield();
  const auto listing = must(f.store->list({}));
  std::map<api::ObjectKey, api::Object> replica;
  for (const auto& object : listing.objects) replica[api::key_of(object)] = object;
  auto watch = must(f.store->watch({.kind = api::Kind::VirtualMachine, .after = listing.revision}));
  while (!replica.contains(vm_key("end"))) {
    for (const auto& change : must(watch->next(7, 10s))) {
      const auto key = api::key_of(change.object);
      if (change.previous) CHECK(replica.at(key) == *change.previous);
      replica[key] = change.object;
      if (change.type == ChangeType::Deleted) replica.erase(key);
    }
  }
  writer.join();
  const auto last = must(f.store->list({}));
  REQUIRE(last.objects.size() == replica.size());
  for (const auto& object : last.objects) CHECK(replica.at(api::key_of(object)) == object);
}

ON_BOTH("the stamp of a kind is another one after every change of an object of it, and after no other change") {
  Fixture f;
  std::set<std::uint64_t> seen;
  const auto is_new = [&] { return seen.insert(must(stamp(*f.store, api::Kind::VirtualMachine))).second; };
  CHECK(is_new());
  auto web = stored(*f.store, make_vm("web"));
  CHECK(is_new());
  auto db = stored(*f.store, make_vm("db"));
  CHECK(is_new());
  CHECK_FALSE(is_new());
  web.meta.labels["changed"] = "yes";
  CHECK(must(f.store->update(web)).meta.resource_version > web.meta.resource_version);
  CHECK(is_new());
  must(f.store->remove(vm_key("web"), std::nullopt));
  CHECK(is_new());
  must(f.store->remove(vm_key("db"), std::nullopt));
  CHECK(is_new());
  CHECK(must(stamp(*f.store, api::Kind::Image)) == must(stamp(*f.store, api::Kind::Kernel)));
  CHECK_FALSE(is_new());
}

}  // namespace
}  // namespace banger::store
