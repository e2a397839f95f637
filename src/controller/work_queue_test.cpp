// SPDX-License-Identifier: Apache-2.0
#include "controller/work_queue.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace banger::controller {
namespace {

using std::chrono::milliseconds;

api::ObjectKey vm(const std::string& name) { return {.kind = api::Kind::VirtualMachine, .ns = "default", .name = name}; }

struct QueueBench {
  ManualClock clock;
  Metrics metrics;
  WorkQueue queue{{}, clock, metrics};

  std::string take() {
    const auto key = queue.try_get();
    return key ? key->name : "";
  }
  std::string take_and_finish() {
    const auto key = queue.try_get();
    if (!key) return "";
    queue.done(*key);
    return key->name;
  }
};

TEST_CASE("a key added many times is handed out once, keys in the order they came") {
  QueueBench bench;
  for (const auto* name : {"a", "b", "a", "a", "b"}) bench.queue.add(vm(name));
  CHECK(bench.queue.ready() == 2);
  CHECK(bench.take_and_finish() == "a");
  CHECK(bench.take_and_finish() == "b");
  CHECK(bench.take() == "");
}

TEST_CASE("a key added while it is worked on is not handed out again before it is done, then once") {
  QueueBench bench;
  bench.queue.add(vm("a"));
  CHECK(bench.take() == "a");
  bench.queue.add(vm("a"));
  bench.queue.add(vm("a"));
  CHECK(bench.take() == "");
  bench.queue.done(vm("a"));
  CHECK(bench.take_and_finish() == "a");
  CHECK(bench.take() == "");
}

TEST_CASE("the backoff doubles from 5 ms to 5 min and starts anew after a success") {
  QueueBench bench;
  const std::array<std::int64_t, 18> expected{5,    10,   20,    40,    80,    160,   320,    640,    1280,
                                              2560, 5120, 10240, 20480, 40960, 81920, 163840, 300000, 300000};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(bench.queue.add_rate_limited(vm("a")) == i + 1);
    REQUIRE(bench.queue.due(vm("a")));
    CHECK((*bench.queue.due(vm("a")) - bench.clock.steady()).count() == expected[i]);
    bench.clock.advance(milliseconds{expected[i] - 1});
    CHECK(bench.take() == "");
    bench.clock.advance(milliseconds{1});
    CHECK(bench.take_and_finish() == "a");
  }
  bench.queue.forget(vm("a"));
  CHECK(bench.queue.failures(vm("a")) == 0);
  CHECK(bench.queue.add_rate_limited(vm("a")) == 1);
  CHECK((*bench.queue.due(vm("a")) - bench.clock.steady()).count() == 5);
}

TEST_CASE("failures of one key do not slow another") {
  QueueBench bench;
  for (int i = 0; i < 10; ++i) bench.queue.add_rate_limited(vm("poisoned"));
  bench.queue.add_rate_limited(vm("b"));
  CHECK((*bench.queue.due(vm("b")) - bench.clock.steady()).count() == 5);
}

TEST_CASE("of two delays the earlier wins, whichever came first") {
  QueueBench bench;
  bench.queue.add_after(vm("a"), milliseconds{100});
  bench.queue.add_after(vm("a"), milliseconds{50});
  bench.queue.add_after(vm("b"), milliseconds{50});
  bench.queue.add_after(vm("b"), milliseconds{100});
  bench.clock.advance(milliseconds{50});
  CHECK(bench.take_and_finish() == "a");
  CHECK(bench.take_and_finish() == "b");
  bench.clock.advance(milliseconds{100});
  CHECK(bench.take() == "");
}

TEST_CASE("an immediate add replaces a pending delayed one, so that the backoff is not inflated by a second pass") {
  QueueBench bench;
  bench.queue.add_rate_limited(vm("a"));
  bench.queue.add(vm("a"));
  CHECK(bench.queue.delayed() == 0);
  CHECK(bench.take_and_finish() == "a");
  bench.clock.advance(milliseconds{10'000});
  CHECK(bench.take() == "");
  CHECK(bench.queue.failures(vm("a")) == 1);
}

TEST_CASE("a delay of nothing is an immediate add") {
  QueueBench bench;
  bench.queue.add_after(vm("a"), milliseconds{0});
  bench.queue.add_after(vm("b"), milliseconds{-5});
  CHECK(bench.take() == "a");
  CHECK(bench.take() == "b");
}

TEST_CASE("a delay that ends while the key is worked on makes one more pass") {
  QueueBench bench;
  bench.queue.add(vm("a"));
  CHECK(bench.take() == "a");
  bench.queue.add_after(vm("a"), milliseconds{10});
  bench.clock.advance(milliseconds{20});
  CHECK(bench.take() == "");
  bench.queue.done(vm("a"));
  CHECK(bench.take_and_finish() == "a");
  CHECK(bench.take() == "");
}

TEST_CASE("a hint during a backoff is the failing pass's echo for a second, later it halves what is left to wait") {
  QueueBench bench;
  for (int failures = 0; failures < 14; ++failures) bench.queue.add_rate_limited(vm("a"));
  bench.clock.advance(milliseconds{5});
  CHECK(bench.take() == "a");
  bench.queue.add_hinted(vm("a"));        // the pass's own doing, while it runs …
  bench.queue.add_rate_limited(vm("a"));  // 81.92 s
  bench.queue.done(vm("a"));
  const auto failed = bench.clock.steady();
  bench.clock.advance(milliseconds{999});
  bench.queue.add_hinted(vm("a"));  // … and right after it
  CHECK(bench.take() == "");
  CHECK((*bench.queue.due(vm("a")) - failed).count() == 81'920);
  bench.clock.advance(milliseconds{1});
  bench.queue.add_hinted(vm("a"));
  bench.queue.add_hinted(vm("a"));
  CHECK((*bench.queue.due(vm("a")) - failed).count() == 40'960);
  bench.clock.advance(milliseconds{39'960});
  CHECK(bench.take_and_finish() == "a");
  bench.queue.add_hinted(vm("a"));  // no backoff any more
  CHECK(bench.take() == "a");
  bench.queue.add_hinted(vm("a"));
  bench.queue.add_after(vm("a"), milliseconds{700});  // nor is this one, although the key has failed before
  bench.queue.done(vm("a"));
  CHECK(bench.take_and_finish() == "a");
}

TEST_CASE("a status write of a failing pass does not cut its backoff short") {
  QueueBench bench;
  bench.queue.add(vm("a"));
  CHECK(bench.take() == "a");
  bench.queue.add_unless_backing_off(vm("a"));  // the write is seen while the pass runs
  bench.queue.add_rate_limited(vm("a"));
  bench.queue.done(vm("a"));
  CHECK(bench.take() == "");
  bench.queue.add_unless_backing_off(vm("a"));  // or after it
  CHECK(bench.take() == "");
  bench.clock.advance(milliseconds{5});
  CHECK(bench.take() == "a");
}

TEST_CASE("a status write of a pass that succeeds is looked at") {
  QueueBench bench;
  bench.queue.add(vm("a"));
  CHECK(bench.take() == "a");
  bench.queue.add_unless_backing_off(vm("a"));
  bench.queue.forget(vm("a"));
  bench.queue.add_after(vm("a"), milliseconds{1000});
  bench.queue.done(vm("a"));
  CHECK(bench.take_and_finish() == "a");
  bench.queue.add_unless_backing_off(vm("b"));
  CHECK(bench.take_and_finish() == "b");
}

TEST_CASE("a user's edit while a pass fails is looked at at once") {
  QueueBench bench;
  bench.queue.add(vm("a"));
  CHECK(bench.take() == "a");
  bench.queue.add(vm("a"));
  bench.queue.add_unless_backing_off(vm("a"));
  bench.queue.add_rate_limited(vm("a"));
  bench.queue.done(vm("a"));
  CHECK(bench.take() == "a");
}

TEST_CASE("after shutdown ready keys are still handed out, new and delayed ones are not") {
  QueueBench bench;
  bench.queue.add(vm("a"));
  bench.queue.add(vm("b"));
  bench.queue.add_after(vm("later"), milliseconds{5});
  CHECK(bench.take() == "a");
  bench.queue.add(vm("a"));  // dirty: one more pass is owed
  bench.queue.shut_down();
  bench.queue.add(vm("c"));
  bench.clock.advance(milliseconds{10});
  CHECK(bench.take_and_finish() == "b");
  bench.queue.done(vm("a"));
  CHECK(bench.queue.get() == vm("a"));
  bench.queue.done(vm("a"));
  CHECK(bench.queue.get() == std::nullopt);
}

TEST_CASE("done for a key that nobody took changes nothing") {
  QueueBench bench;
  bench.queue.done(vm("a"));
  bench.queue.add(vm("a"));
  bench.queue.done(vm("a"));
  CHECK(bench.take() == "a");
  CHECK(bench.queue.processing() == 1);
}

TEST_CASE("depth, adds, retries and durations are counted by kind") {
  QueueBench bench;
  const Labels labels{{"name", "virtualmachine"}, {"controller", "virtualmachine"}};
  bench.queue.add(vm("a"));
  bench.queue.add(vm("b"));
  CHECK(bench.metrics.gauge("workqueue_depth", "", labels).value() == 2);
  bench.clock.advance(milliseconds{250});
  CHECK(bench.take() == "a");
  CHECK(bench.metrics.gauge("workqueue_depth", "", labels).value() == 1);
  bench.clock.advance(milliseconds{1500});
  bench.queue.refresh_metrics();
  CHECK(bench.metrics.gauge("workqueue_unfinished_work_seconds", "", labels).value() == 1.5);
  CHECK(bench.metrics.gauge("workqueue_longest_running_processor_seconds", "", labels).value() == 1.5);
  bench.queue.add_rate_limited(vm("a"));
  bench.queue.done(vm("a"));
  bench.queue.refresh_metrics();
  CHECK(bench.metrics.gauge("workqueue_unfinished_work_seconds", "", labels).value() == 0);
  CHECK(bench.metrics.counter("workqueue_adds_total", "", labels).value() == 2);
  CHECK(bench.metrics.counter("workqueue_retries_total", "", labels).value() == 1);
  CHECK(bench.metrics.histogram("workqueue_queue_duration_seconds", "", {}, labels).snapshot().sum == 0.25);
  CHECK(bench.metrics.histogram("workqueue_work_duration_seconds", "", {}, labels).snapshot().sum == 1.5);
}

// What the threads of one stress run share. Each key says whether somebody works on it and how many adds it has seen answered.
struct Shared {
  static constexpr std::size_t kKeys = 7;
  std::array<std::atomic<int>, kKeys> inside{};
  std::array<std::atomic<std::uint64_t>, kKeys> asked{};     // counted up before the add
  std::array<std::atomic<std::uint64_t>, kKeys> answered{};  // what a pass saw of asked when it began
  std::atomic<int> collisions{0};
  std::atomic<std::uint64_t> passes{0};
};

void work(WorkQueue& queue, Shared& shared) {
  while (const auto key = queue.get()) {
    const auto i = static_cast<std::size_t>(std::stoul(key->name));
    if (shared.inside[i].fetch_add(1) != 0) ++shared.collisions;
    shared.answered[i] = shared.asked[i].load();
    const auto pass = ++shared.passes;
    if (pass % 5 == 0) {
      queue.add_rate_limited(*key);
    } else {
      queue.forget(*key);
      if (pass % 7 == 0) queue.add_after(*key, milliseconds{1});
    }
    shared.inside[i].fetch_sub(1);
    queue.done(*key);
  }
}

TEST_CASE("no two workers ever share a key, and the last add of every key is answered") {
  SystemClock clock;
  Metrics metrics;
  WorkQueue queue({.base_delay = milliseconds{1}, .max_delay = milliseconds{2}}, clock, metrics);
  Shared shared;
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) workers.emplace_back([&] { work(queue, shared); });
  std::vector<std::thread> producers;
  for (unsigned seed = 0; seed < 3; ++seed) {
    producers.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 5'000; ++i) {
        const std::size_t key = random() % Shared::kKeys;
        ++shared.asked[key];
        queue.add(vm(std::to_string(key)));
      }
    });
  }
  for (auto& thread : producers) thread.join();
  queue.shut_down_and_drain();
  for (auto& thread : workers) thread.join();
  CHECK(shared.collisions == 0);
  CHECK(shared.passes > 0);
  for (std::size_t i = 0; i < Shared::kKeys; ++i) CHECK(shared.answered[i] == shared.asked[i]);
  CHECK(queue.ready() == 0);
  CHECK(queue.processing() == 0);
}

TEST_CASE("a worker that waits is woken by an add, by a delay's end and by the shutdown") {
  SystemClock clock;
  Metrics metrics;
  WorkQueue queue({}, clock, metrics);
  std::vector<std::string> seen;
  std::thread worker([&] {
    while (const auto key = queue.get()) {
      seen.push_back(key->name);
      if (key->name == "a") queue.add_after(vm("b"), milliseconds{1});
      if (key->name == "b") queue.add(vm("last"));
      const bool last = key->name == "last";
      queue.done(*key);
      if (last) queue.shut_down();
    }
  });
  queue.add(vm("a"));
  worker.join();
  CHECK(seen == std::vector<std::string>{"a", "b", "last"});
}

}  // namespace
}  // namespace banger::controller
