// SPDX-License-Identifier: Apache-2.0
// How often the real reconcilers try what cannot work, on a simulated host that tells of everything that a try itself does.
#include <cstdint>

#include "controller/manager.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::controller {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Error kNoQemu{ErrorCode::Unavailable, "there is no QEMU", 0};

struct Running : reconcilers::World {
  Running() {
    for (auto& reconciler : reconcilers::make_reconcilers({objects, host, events, clock, random}, layout)) {
      manager.add(std::move(reconciler));
    }
    create_builtins();
    create_image();
    REQUIRE(manager.sync());
  }

  void run_now() {
    for (bool busy = true; busy;) {
      const auto followed = manager.follow();
      REQUIRE(followed);
      busy = manager.work_one() || *followed > 0;
    }
  }
  // Millisecond by millisecond; echo() is what arrives a little after every pass.
  template <class Echo>
  void run_for(milliseconds time, Echo echo) {
    for (milliseconds passed{0}; passed < time; passed += milliseconds{1}) {
      run_now();
      echo();
      clock.advance(milliseconds{1});
      manager.tick();
    }
  }
  void run_for(milliseconds time) {
    run_for(time, [] {});
  }

  Metrics metrics;
  Manager manager{{}, objects, host, clock, metrics};
};

TEST_CASE_FIXTURE(Running, "a start that fails at its last step is tried 5 ms … 5 min apart, whatever it stirs up itself") {
  host.fail_next("LaunchVmm", kNoQemu, actuators::sim::FaultPoint::BeforeEffect, 1'000);
  create_vm();
  run_for(seconds(4));
  CHECK(events.count("FailedLaunch") == 10);  // at 0, 5, 15, 35, … 2555 ms: 5 · 2^n
  run_for(seconds(6));
  CHECK(events.count("FailedLaunch") <= 12);
  CHECK(condition("Ready") == "False StepFailed");
}

TEST_CASE_FIXTURE(Running, "an edit is tried at once, and what can be mended is up without waiting for anybody") {
  host.fail_next("LaunchVmm", kNoQemu, actuators::sim::FaultPoint::BeforeEffect, 1'000);
  create_vm();
  run_for(seconds(10));
  const auto before = events.count("FailedLaunch");
  edit_vm([](auto&, auto& meta) { meta.labels["tier"] = "front"; });
  run_now();
  CHECK(events.count("FailedLaunch") == before + 1);
  host.clear_faults();
  run_for(seconds(60));
  CHECK(condition("Ready") == "True Ready");
  CHECK(manager.queue().failures(vm_key()) == 0);
}

TEST_CASE_FIXTURE(Running, "a disk and an image whose job fails at its end are not made again and again") {
  host.fail_jobs("root-disk", Error{ErrorCode::Unavailable, "no space left", 0});
  host.hold_jobs("root-disk");
  create_vm();
  create_image("second");
  host.fail_jobs("build", Error{ErrorCode::Unavailable, "the source cannot be read", 0});
  host.hold_jobs("build");
  int finished = 0;
  run_for(seconds(10), [&] {
    if (++finished % 10 != 0) return;  // each takes 10 ms
    for (const auto* job : {"root-disk", "build"}) {
      host.release_jobs(job);
      host.hold_jobs(job);
    }
  });
  CHECK(events.count("BuildFailed") >= 8);
  CHECK(events.count("BuildFailed") <= 24);  // of two images
}

}  // namespace
}  // namespace banger::controller
