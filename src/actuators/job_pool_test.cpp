// SPDX-License-Identifier: Apache-2.0
#include "actuators/job_pool.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <latch>
#include <stdexcept>

using namespace banger;
using namespace banger::actuators;
using namespace std::chrono_literals;

namespace {

const JobKey kSync{"vm-1", "sync"};
JobSpec sync(const std::string& nonce) { return SyncGuest{.nonce = nonce}; }
JobSpec build(const std::string& uid) { return BuildImage{.image_uid = uid}; }

// A pool whose syncs wait until they are let go (or told to stop), and what has finished.
struct Scene {
  ManualClock clock;
  std::mutex mutex;
  std::condition_variable_any changed;
  bool open = false;
  int running = 0, most_running = 0, runs = 0;
  std::vector<JobKey> finished;
  std::function<void(const JobKey&)> also;
  std::unique_ptr<JobPool> pool;

  explicit Scene(std::size_t threads = JobPool::kThreads) {
    JobRunners runners;
    runners.sync_guest = [this](const SyncGuest& job, const std::stop_token& stop) { return wait(job.nonce, stop); };
    runners.build_image = [this](const BuildImage& job, const std::stop_token& stop) { return wait(job.image_uid, stop); };
    runners.probe_ssh = [](const ProbeSsh& job, const std::stop_token&) -> Result<std::string> {
      if (job.target.port == 1) throw std::runtime_error("boom");
      return fail({ErrorCode::Unavailable, "no answer"});
    };
    pool = std::make_unique<JobPool>(std::move(runners), clock, threads);
    pool->on_finished([this](const JobKey& key) {
      if (also) also(key);
      const std::lock_guard lock(mutex);
      finished.push_back(key);
      changed.notify_all();
    });
  }
  Result<std::string> wait(const std::string& answer, const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    ++runs;
    most_running = std::max(most_running, ++running);
    changed.notify_all();
    const bool opened = changed.wait(lock, stop, [&] { return open; });
    --running;
    changed.notify_all();
    if (!opened) return fail({ErrorCode::Unavailable, "stopped"});
    return answer;
  }
  template <class Condition>
  bool until(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, condition);
  }
  void let_go() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
};

}  // namespace

TEST_CASE("the same spec runs once, a different one is Busy, and replaces it when it is done") {
  Scene scene;
  CHECK(scene.pool->start(kSync, sync("a")) == true);
  REQUIRE(scene.until([&] { return scene.running == 1; }));
  CHECK(scene.pool->start(kSync, sync("a")) == false);
  CHECK(scene.pool->start(kSync, sync("b")).error().code == ErrorCode::Busy);
  scene.clock.advance(70ms);
  auto view = scene.pool->observe("vm-1").at(0);
  CHECK(view.state == JobState::Running);
  CHECK(view.duration == 70ms);
  CHECK(view.spec == sync("a"));

  scene.let_go();
  REQUIRE(scene.until([&] { return scene.finished.size() == 1; }));
  view = scene.pool->observe("vm-1").at(0);
  CHECK(view.state == JobState::Done);
  CHECK(view.result == "a");
  CHECK(view.duration == 70ms);
  CHECK(scene.pool->start(kSync, sync("a")) == false);
  CHECK(scene.runs == 1);

  CHECK(scene.pool->start(kSync, sync("b")) == true);
  REQUIRE(scene.until([&] { return scene.finished.size() == 2; }));
  CHECK(scene.pool->observe("vm-1").at(0).result == "b");
}

TEST_CASE("a failed job keeps its error and is started again by the same spec") {
  Scene scene;
  const JobKey key{"vm-1", "probe"};
  for (std::size_t i = 1; i <= 2; ++i) {
    CHECK(scene.pool->start(key, ProbeSsh{}) == true);
    REQUIRE(scene.until([&] { return scene.finished.size() == i; }));
    const auto view = scene.pool->observe("vm-1").at(0);
    CHECK(view.state == JobState::Failed);
    CHECK(view.error == Error{ErrorCode::Unavailable, "no answer"});
  }
}

TEST_CASE("a job that throws has failed, and its thread works on") {
  Scene scene(1);
  const JobKey key{"vm-1", "probe"};
  REQUIRE(scene.pool->start(key, ProbeSsh{.target = {.port = 1}}));
  REQUIRE(scene.until([&] { return scene.finished.size() == 1; }));
  CHECK(scene.pool->observe("vm-1").at(0).error->message == "the job threw: boom");
  scene.let_go();
  REQUIRE(scene.pool->start(kSync, sync("a")));
  CHECK(scene.until([&] { return scene.finished.size() == 2; }));
}

TEST_CASE("the end of a job is told after it can be seen") {
  Scene scene;
  std::promise<JobState> seen;
  scene.also = [&](const JobKey& key) { seen.set_value(scene.pool->observe(key.owner_uid).at(0).state); };
  REQUIRE(scene.pool->start(kSync, sync("a")));
  scene.let_go();
  CHECK(seen.get_future().get() == JobState::Done);
}

TEST_CASE("a forgotten job is told to stop, its result dropped, its key free once it has stopped") {
  Scene scene;
  REQUIRE(scene.pool->start(kSync, sync("a")));
  REQUIRE(scene.until([&] { return scene.running == 1; }));
  CHECK(scene.pool->forget(kSync));
  CHECK_FALSE(scene.pool->forget(kSync));
  CHECK(scene.pool->observe("vm-1").empty());
  REQUIRE(scene.until([&] { return scene.finished.size() == 1; }));  // Busy until here, or free a moment earlier
  CHECK(scene.pool->observe("vm-1").empty());
  CHECK(scene.pool->start(kSync, sync("b")) == true);
  scene.let_go();
  CHECK(scene.until([&] { return scene.finished.size() == 2; }));
  CHECK(scene.pool->observe("vm-1").at(0).result == "b");
}

TEST_CASE("a forgotten job that does not listen keeps its key Busy") {
  std::latch entered(1);
  std::latch leave(1);
  JobRunners runners;
  runners.sync_guest = [&](const SyncGuest&, const std::stop_token&) -> Result<std::string> {
    entered.count_down();
    leave.wait();
    return "late";
  };
  ManualClock clock;
  std::promise<void> finished;
  JobPool pool(std::move(runners), clock, 2);
  pool.on_finished([&](const JobKey&) { finished.set_value(); });
  REQUIRE(pool.start(kSync, sync("a")));
  entered.wait();
  CHECK(pool.forget(kSync));
  CHECK(pool.start(kSync, sync("a")).error().code == ErrorCode::Busy);
  leave.count_down();
  finished.get_future().wait();
  CHECK(pool.observe("vm-1").empty());
}

TEST_CASE("a job that waits for a thread can be forgotten and never runs") {
  Scene scene(1);
  REQUIRE(scene.pool->start(kSync, sync("a")));
  REQUIRE(scene.until([&] { return scene.running == 1; }));
  REQUIRE(scene.pool->start({"vm-2", "sync"}, sync("b")));
  CHECK(scene.pool->observe_all().size() == 2);
  CHECK(scene.pool->forget({"vm-2", "sync"}));
  CHECK(scene.pool->start({"vm-2", "sync"}, sync("c")) == true);
  scene.let_go();
  REQUIRE(scene.until([&] { return scene.finished.size() == 2; }));
  CHECK(scene.runs == 2);
  CHECK(scene.pool->observe("vm-2").at(0).result == "c");
}

TEST_CASE("jobs that move data leave threads for those that wait for a guest") {
  Scene scene(4);
  for (int i = 0; i < 6; ++i) REQUIRE(scene.pool->start({"image-" + std::to_string(i), "build"}, build(std::to_string(i))));
  REQUIRE(scene.until([&] { return scene.running == 2; }));
  REQUIRE(scene.pool->start(kSync, sync("a")));
  REQUIRE(scene.until([&] { return scene.running == 3; }));
  scene.let_go();
  CHECK(scene.until([&] { return scene.finished.size() == 7; }));
  CHECK(scene.most_running == 3);
}

TEST_CASE("a pool is destroyed with jobs running and waiting") {
  Scene scene(2);
  for (int i = 0; i < 8; ++i) REQUIRE(scene.pool->start({"vm-" + std::to_string(i), "sync"}, sync("x")));
  REQUIRE(scene.until([&] { return scene.running == 2; }));
  scene.pool.reset();
  CHECK(scene.running == 0);
  CHECK(scene.runs == 2);
}

TEST_CASE("a job that has ended is told as one and the same each time, one that runs as it is now") {
  Scene scene;
  REQUIRE(scene.pool->start(kSync, sync("a")));
  REQUIRE(scene.until([&] { return scene.running == 1; }));
  const auto running = scene.pool->observe_all().at(0);
  CHECK(running->state == JobState::Running);
  scene.clock.advance(1s);
  CHECK(scene.pool->observe_all().at(0)->duration > running->duration);
  scene.let_go();
  REQUIRE(scene.until([&] { return scene.finished.size() == 1; }));
  const auto ended = scene.pool->observe_all().at(0);
  CHECK(ended->state == JobState::Done);
  CHECK(ended == scene.pool->observe("vm-1").at(0));
  CHECK(scene.pool->observe_all().at(0).is(ended));
  REQUIRE(scene.pool->start(kSync, sync("b")));
  CHECK_FALSE(scene.pool->observe_all().at(0)->state == JobState::Failed);
  CHECK_FALSE(scene.pool->observe_all().at(0) == ended);
}
