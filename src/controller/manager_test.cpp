// SPDX-License-Identifier: Apache-2.0
#include "controller/manager.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/random.hpp"

namespace banger::controller {
namespace {

using std::chrono::milliseconds;

class FakeHost final : public actuators::Host {
 public:
  Result<std::vector<actuators::HostObject>> inventory() override { return std::vector<actuators::HostObject>{}; }
  std::function<void(const std::string&)> hint;
  int reads = 0;
  bool broken = false;
  std::vector<actuators::NetworkQuery> asked;

  Result<actuators::VmView> observe_vm(const std::string&, std::size_t) override { return actuators::VmView{}; }
  Result<actuators::NetworkView> observe_network(const actuators::NetworkQuery&) override { return actuators::NetworkView{}; }
  Result<actuators::ImageView> observe_image(const actuators::ImageQuery&) override { return actuators::ImageView{}; }
  Result<actuators::KernelView> observe_kernel(const actuators::KernelQuery&) override { return actuators::KernelView{}; }
  Result<actuators::HostView> observe_all(const std::vector<actuators::NetworkQuery>& networks) override {
    ++reads;
    asked = networks;
    if (broken) return fail({.code = ErrorCode::Busy, .message = "dump interrupted", .sys_errno = 0});
    return actuators::HostView{};
  }
  Result<actuators::Applied> apply(const actuators::Step&) override { return actuators::Applied::Unchanged; }
  void on_hint(std::function<void(const std::string&)> callback) override { hint = std::move(callback); }
};

class FakeReconciler final : public reconcilers::Reconciler {
 public:
  using Pass = std::function<reconcilers::Outcome(const api::ObjectKey&)>;
  explicit FakeReconciler(api::Kind kind) : kind_(kind) {}

  Pass pass = [](const api::ObjectKey&) { return reconcilers::Outcome{}; };
  std::function<std::vector<api::ObjectKey>(const store::Change&)> affected;
  std::vector<api::ObjectKey> drift;

  std::vector<std::string> seen() {
    const std::scoped_lock lock(mutex_);
    return seen_;
  }
  void wait_for(const std::string& name) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return std::ranges::find(seen_, name) != seen_.end(); });
  }

  api::Kind kind() const override { return kind_; }
  reconcilers::Outcome reconcile(const api::ObjectKey& key) override {
    {
      const std::scoped_lock lock(mutex_);
      seen_.push_back(key.name);
      changed_.notify_all();
    }
    return pass(key);
  }
  std::vector<api::ObjectKey> affected_by(const store::Change& change) override {
    return affected ? affected(change) : std::vector<api::ObjectKey>{};
  }
  std::vector<api::ObjectKey> drifted(const actuators::HostView&) override { return drift; }

 private:
  api::Kind kind_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> seen_;
};

api::ObjectKey vm_key(const std::string& name) { return {.kind = api::Kind::VirtualMachine, .ns = "default", .name = name}; }

struct Bench {
  explicit Bench(Clock* other_clock = nullptr) : clock(other_clock != nullptr ? *other_clock : manual) {
    auto owned_vms = std::make_unique<FakeReconciler>(api::Kind::VirtualMachine);
    auto owned_networks = std::make_unique<FakeReconciler>(api::Kind::Network);
    vms = owned_vms.get();
    networks = owned_networks.get();
    manager.add(std::move(owned_vms));
    manager.add(std::move(owned_networks));
  }

  std::string make_vm(const std::string& name) {
    api::VirtualMachine vm;
    vm.spec.image = "demo";
    auto made = objects.create({.meta = {.name = name, .ns = "default"}, .body = vm});
    REQUIRE_MESSAGE(made, (made ? "" : made.error().error.message));
    return made->meta.uid;
  }
  std::string make_network(const std::string& name, const std::string& bridge) {
    api::Network network;
    network.spec.bridge = bridge;
    auto made = objects.create({.meta = {.name = name}, .body = network});
    REQUIRE_MESSAGE(made, (made ? "" : made.error().error.message));
    return made->meta.uid;
  }
  void set_phase(const std::string& name, const std::string& phase) {
    REQUIRE(objects.edit_status(vm_key(name), [&](api::Object& object) -> Result<void> {
      std::get<api::VirtualMachine>(object.body).status.phase = phase;
      return {};
    }));
  }
  void work_all() {
    while (manager.work_one()) {
    }
  }
  void follow_all() {
    while (true) {
      const auto followed = manager.follow();
      REQUIRE(followed);
      if (*followed == 0) return;
    }
  }

  ManualClock manual;
  Clock& clock;
  std::unique_ptr<store::Store> store = store::make_memory_store();
  SeededRandom random{7};
  store::Objects objects{*store, clock, random};
  FakeHost host;
  Metrics metrics;
  Manager manager{{}, objects, host, clock, metrics};
  FakeReconciler* vms = nullptr;
  FakeReconciler* networks = nullptr;
};

TEST_CASE("every object gets a pass at the start, and readiness comes with that") {
  Bench bench;
  bench.make_vm("a");
  bench.make_vm("b");
  bench.make_network("lan", "");
  CHECK_FALSE(bench.manager.health().ready());
  REQUIRE(bench.manager.sync());
  CHECK(bench.manager.health().ready());
  bench.work_all();
  CHECK(bench.vms->seen() == std::vector<std::string>{"a", "b"});
  CHECK(bench.networks->seen() == std::vector<std::string>{"lan"});
}

TEST_CASE("a change of an object, and its removal, is a pass over its key") {
  Bench bench;
  REQUIRE(bench.manager.sync());
  bench.make_vm("a");
  bench.follow_all();
  bench.work_all();
  REQUIRE(bench.objects.remove(vm_key("a"), {}));
  bench.follow_all();
  bench.work_all();
  CHECK(bench.vms->seen() == std::vector<std::string>{"a", "a"});
}

TEST_CASE("a change enqueues what other reconcilers say it affects") {
  Bench bench;
  bench.vms->affected = [](const store::Change& change) {
    if (api::kind_of(change.object) != api::Kind::Network) return std::vector<api::ObjectKey>{};
    return std::vector{vm_key("user-of-" + change.object.meta.name)};
  };
  REQUIRE(bench.manager.sync());
  bench.make_network("lan", "");
  bench.follow_all();
  bench.work_all();
  CHECK(bench.vms->seen() == std::vector<std::string>{"user-of-lan"});
  CHECK(bench.networks->seen() == std::vector<std::string>{"lan"});
}

TEST_CASE("an affected_by that throws does not stop the others") {
  Bench bench;
  bench.networks->affected = [](const store::Change&) -> std::vector<api::ObjectKey> { throw std::runtime_error("oops"); };
  REQUIRE(bench.manager.sync());
  bench.make_vm("a");
  bench.follow_all();
  bench.work_all();
  CHECK(bench.vms->seen() == std::vector<std::string>{"a"});
}

TEST_CASE("a pass that fails is repeated with its key's backoff, and others are not delayed") {
  Bench bench;
  bench.make_vm("poisoned");
  bench.make_vm("fine");
  bench.vms->pass = [](const api::ObjectKey& key) -> reconcilers::Outcome {
    if (key.name == "poisoned") return {.error = invalid("never"), .requeue_after = milliseconds{1}, .mutations = 0};
    return {};
  };
  REQUIRE(bench.manager.sync());
  bench.work_all();
  CHECK(bench.manager.queue().failures(vm_key("poisoned")) == 1);
  CHECK((*bench.manager.queue().due(vm_key("poisoned")) - bench.clock.steady()) == milliseconds{5});
  bench.manual.advance(milliseconds{5});
  bench.work_all();
  CHECK(bench.manager.queue().failures(vm_key("poisoned")) == 2);
  CHECK((*bench.manager.queue().due(vm_key("poisoned")) - bench.clock.steady()) == milliseconds{10});
  CHECK(std::ranges::count(bench.vms->seen(), "fine") == 1);
}

TEST_CASE("an attempt that fails at its second pass backs off longer each time, until the object is at rest") {
  Bench bench;
  bench.make_vm("a");
  bool begun = false;
  bool works = false;
  bench.vms->pass = [&](const api::ObjectKey&) -> reconcilers::Outcome {
    if (works) return {.error = {}, .requeue_after = std::chrono::seconds{10}, .mutations = 0};
    begun = !begun;
    if (begun) return {.error = {}, .requeue_after = milliseconds{1}, .mutations = 1};
    return {.error = invalid("no"), .requeue_after = {}, .mutations = 0};
  };
  REQUIRE(bench.manager.sync());
  for (unsigned failures = 1; failures <= 4; ++failures) {
    bench.work_all();
    bench.manual.advance(milliseconds{1});
    bench.work_all();
    CHECK(bench.manager.queue().failures(vm_key("a")) == failures);
    bench.manual.advance(std::chrono::seconds{1});
  }
  works = true;
  bench.work_all();
  CHECK(bench.manager.queue().failures(vm_key("a")) == 0);
}

TEST_CASE("a pass that repairs what failed is followed by a look that ends the count of failures") {
  Bench bench;
  bench.make_vm("a");
  int passes = 0;
  bench.vms->pass = [&](const api::ObjectKey&) -> reconcilers::Outcome {
    ++passes;
    if (passes == 1) return {.error = internal("no"), .requeue_after = {}, .mutations = 0};
    return {.error = {}, .requeue_after = {}, .mutations = passes == 2 ? 1U : 0U};
  };
  REQUIRE(bench.manager.sync());
  for (int i = 0; i < 4; ++i) {
    bench.work_all();
    bench.manual.advance(std::chrono::seconds{1});
  }
  CHECK(passes == 3);
  CHECK(bench.manager.queue().failures(vm_key("a")) == 0);
}

TEST_CASE("what a failing pass does to the host is told to us after it, and does not make it hot") {
  Bench bench;
  const auto uid = bench.make_vm("a");
  int passes = 0;
  bench.vms->pass = [&](const api::ObjectKey&) -> reconcilers::Outcome {
    ++passes;
    return {.error = internal("no"), .requeue_after = {}, .mutations = 2};
  };
  REQUIRE(bench.manager.sync());
  for (int ms = 0; ms < 10'000; ++ms) {
    const int before = passes;
    bench.work_all();
    if (passes > before) bench.host.hint(uid);
    bench.manual.advance(milliseconds{1});
  }
  CHECK(passes == 11);  // 5 · 2^n ms apart
}

TEST_CASE("a pass that throws is an error like any other") {
  Bench bench;
  bench.make_vm("a");
  int passes = 0;
  bench.vms->pass = [&](const api::ObjectKey&) -> reconcilers::Outcome {
    if (++passes == 1) throw std::runtime_error("oops");
    if (passes == 2) throw 42;  // NOLINT: what a bad library may do
    return {};
  };
  REQUIRE(bench.manager.sync());
  for (int i = 0; i < 3; ++i) {
    bench.work_all();
    bench.manual.advance(milliseconds{20});
  }
  CHECK(passes == 3);
  CHECK(bench.manager.queue().failures(vm_key("a")) == 0);
  const Labels controller{{"controller", "virtualmachine"}};
  CHECK(bench.metrics.counter("controller_runtime_reconcile_panics_total", "", controller).value() == 2);
  CHECK(bench.metrics.counter("controller_runtime_reconcile_errors_total", "", controller).value() == 2);
}

TEST_CASE("a pass may ask to be repeated later") {
  Bench bench;
  bench.make_vm("a");
  bench.vms->pass = [](const api::ObjectKey&) -> reconcilers::Outcome {
    return {.error = std::nullopt, .requeue_after = milliseconds{700}, .mutations = 3};
  };
  REQUIRE(bench.manager.sync());
  bench.work_all();
  CHECK((*bench.manager.queue().due(vm_key("a")) - bench.clock.steady()) == milliseconds{700});
  CHECK(bench.metrics.counter("banger_host_mutations_total", "", {{"controller", "virtualmachine"}}).value() == 3);
}

TEST_CASE("a failing pass that writes its status each time still backs off") {
  Bench bench;
  bench.make_vm("a");
  int passes = 0;
  bench.vms->pass = [&](const api::ObjectKey&) -> reconcilers::Outcome {
    bench.set_phase("a", "Failed " + std::to_string(++passes));
    return {.error = internal("no"), .requeue_after = std::nullopt, .mutations = 0};
  };
  REQUIRE(bench.manager.sync());
  for (int i = 0; i < 5; ++i) {
    bench.work_all();
    bench.follow_all();
  }
  CHECK(passes == 1);
  REQUIRE(bench.objects.edit(vm_key("a"), [](api::Object& object) -> Result<void> {
    object.meta.labels["app"] = "web";
    return {};
  }));
  bench.follow_all();
  bench.work_all();
  CHECK(passes == 2);  // a person's edit is looked at at once
}

TEST_CASE("a watch that fell behind lists everything again, what was removed meanwhile included") {
  Bench bench;
  bench.make_vm("a");
  REQUIRE(bench.manager.sync());
  bench.work_all();
  REQUIRE(bench.objects.remove(vm_key("a"), {}));
  bench.make_vm("b");
  for (int i = 0; i < 5'000; ++i) bench.set_phase("b", std::to_string(i));  // more than a watch holds
  REQUIRE(bench.manager.follow());
  bench.follow_all();
  bench.work_all();
  const auto seen = bench.vms->seen();
  CHECK(std::ranges::count(seen, "a") == 2);
  CHECK(std::ranges::count(seen, "b") == 1);
}

TEST_CASE("a hint with a uid is a pass over its object, an unknown uid is nothing") {
  Bench bench;
  const auto uid = bench.make_vm("a");
  REQUIRE(bench.manager.sync());
  bench.work_all();
  bench.host.hint(uid);
  bench.host.hint("00000000-0000-4000-8000-000000000000");
  bench.work_all();
  CHECK(bench.vms->seen() == std::vector<std::string>{"a", "a"});
  CHECK(bench.host.reads == 0);
}

TEST_CASE("a resync reads the host once and enqueues what drifted") {
  Bench bench;
  bench.make_vm("a");
  bench.make_vm("b");
  const auto with_name = bench.make_network("lan", "br-lan");
  const auto without = bench.make_network("wan", "");
  REQUIRE(bench.manager.sync());
  bench.work_all();
  bench.vms->drift = {vm_key("b")};
  CHECK(bench.manager.tick() == milliseconds{10'000});
  CHECK(bench.host.reads == 0);
  bench.manual.advance(milliseconds{30'000});
  bench.manager.tick();
  CHECK(bench.host.reads == 1);
  CHECK(bench.manager.health().last_resync() == bench.clock.wall());
  REQUIRE(bench.host.asked.size() == 2);
  CHECK(bench.host.asked[0].uid == with_name);
  CHECK(bench.host.asked[0].bridge == "br-lan");
  CHECK(bench.host.asked[1].uid == without);
  CHECK(bench.host.asked[1].bridge.starts_with("bgb"));
  bench.work_all();
  CHECK(std::ranges::count(bench.vms->seen(), "b") == 2);
  CHECK(std::ranges::count(bench.vms->seen(), "a") == 1);
}

TEST_CASE("hints without a uid read the whole host, at most four times a second") {
  Bench bench;
  REQUIRE(bench.manager.sync());
  for (int i = 0; i < 100; ++i) bench.host.hint("");
  bench.manager.tick();
  CHECK(bench.host.reads == 1);
  for (int ms = 0; ms < 1'000; ++ms) {
    bench.host.hint("");
    bench.manual.advance(milliseconds{1});
    bench.manager.tick();
  }
  CHECK(bench.host.reads == 5);
  bench.manual.advance(milliseconds{29'999});
  bench.manager.tick();
  CHECK(bench.host.reads == 5);
  bench.manual.advance(milliseconds{1});
  bench.manager.tick();
  CHECK(bench.host.reads == 6);
}

TEST_CASE("a host that cannot be read is no resync, and is read again at the next one") {
  Bench bench;
  REQUIRE(bench.manager.sync());
  bench.host.broken = true;
  bench.manual.advance(milliseconds{30'000});
  bench.manager.tick();
  CHECK(bench.host.reads == 1);
  CHECK(bench.manager.health().last_resync() == std::nullopt);
  bench.host.broken = false;
  bench.manual.advance(milliseconds{30'000});
  bench.manager.tick();
  CHECK(bench.manager.health().last_resync() == bench.clock.wall());
}

TEST_CASE("periodic tasks run when they are due, one that throws again too") {
  Bench bench;
  int runs = 0;
  bench.manager.every(milliseconds{100}, "throws", [&] {
    ++runs;
    throw std::runtime_error("oops");
  });
  CHECK(bench.manager.tick() == milliseconds{100});
  CHECK(runs == 0);
  for (int i = 0; i < 3; ++i) {
    bench.manual.advance(milliseconds{100});
    bench.manager.tick();
  }
  CHECK(runs == 3);
}

TEST_CASE("virtual machines are counted by phase, phases that emptied as nothing") {
  Bench bench;
  bench.make_vm("a");
  bench.make_vm("b");
  bench.set_phase("b", "Running");
  REQUIRE(bench.manager.sync());
  CHECK(bench.metrics.text().find("banger_vms{phase=\"Running\"} 1\nbanger_vms{phase=\"Unknown\"} 1\n") != std::string::npos);
  bench.set_phase("a", "Running");
  bench.follow_all();
  CHECK(bench.metrics.text().find("banger_vms{phase=\"Running\"} 2\nbanger_vms{phase=\"Unknown\"} 0\n") != std::string::npos);
}

TEST_CASE("hints after the manager is gone do nothing") {
  std::unique_ptr<store::Store> store = store::make_memory_store();
  ManualClock clock;
  SeededRandom random{7};
  store::Objects objects(*store, clock, random);
  FakeHost host;
  Metrics metrics;
  {
    const Manager manager({}, objects, host, clock, metrics);
  }
  host.hint("");
  host.hint("00000000-0000-4000-8000-000000000000");
  CHECK(metrics.text().empty());
}

TEST_CASE("with threads: changes and hints become passes, never two of one key at once, and stop ends them") {
  SystemClock clock;
  Bench bench(&clock);
  std::mutex mutex;
  std::set<std::string> inside;
  bool collided = false;
  bench.vms->pass = [&](const api::ObjectKey& key) -> reconcilers::Outcome {
    {
      const std::scoped_lock lock(mutex);
      collided = collided || !inside.insert(key.name).second;
    }
    bench.set_phase(key.name, "Running");
    const std::scoped_lock lock(mutex);
    inside.erase(key.name);
    return {};
  };
  bench.make_vm("before");
  REQUIRE(bench.manager.start());
  CHECK(bench.manager.health().ready());
  bench.vms->wait_for("before");
  std::vector<std::string> uids;
  for (int i = 0; i < 50; ++i) uids.push_back(bench.make_vm("vm" + std::to_string(i)));
  for (int round = 0; round < 20; ++round) {
    for (const auto& uid : uids) bench.host.hint(uid);
    bench.host.hint("");
  }
  for (int i = 0; i < 50; ++i) bench.vms->wait_for("vm" + std::to_string(i));
  bench.manager.stop();
  CHECK_FALSE(bench.manager.health().ready());
  bench.manager.stop();
  CHECK_FALSE(collided);
  CHECK(inside.empty());
}

}  // namespace
}  // namespace banger::controller
