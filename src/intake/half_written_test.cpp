// SPDX-License-Identifier: Apache-2.0
// Files that somebody is writing.
#include "intake/bench_test.hpp"

namespace banger::intake {
namespace {

using std::chrono::milliseconds;

// Here the wall clock is that of the files, and stands still while time passes.
WallTime file_time() { return SystemClock{}.wall(); }

void wait(Bench& bench, milliseconds time) {
  bench.clock.advance(time);
  bench.clock.jump_wall(-time);
}

TEST_CASE("a file that changed a moment ago is read when two looks 100 ms apart see the same") {
  Bench bench(file_time());
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  CHECK_FALSE(bench.find("one"));
  CHECK(bench.row("a.yaml").state == "Waiting");
  CHECK(bench.intake->look_again() == milliseconds{100});
  wait(bench, milliseconds{99});
  bench.put("a.yaml", vm_yaml("one", "  cpus: 2\n"));  // it grew: the count begins anew
  bench.scan();
  wait(bench, milliseconds{99});
  bench.scan();
  CHECK_FALSE(bench.find("one"));
  wait(bench, milliseconds{1});
  bench.scan();
  CHECK(bench.spec("one").cpus == 2);
}

TEST_CASE("while a file settles its objects stay as they were, and so does its row") {
  Bench bench(file_time());
  bench.put("a.yaml", vm_yaml("one", "  cpus: 2\n") + vm_yaml("two"));
  bench.scan();
  wait(bench, milliseconds{100});
  bench.scan();
  REQUIRE(bench.vms() == 2);
  for (int i = 0; i < 50; ++i) {  // somebody writes, slowly, a file that would lose an object if it were read now
    bench.put("a.yaml", vm_yaml("one", "  cpus: 3\n  # " + std::string(static_cast<std::size_t>(i), 'x') + "\n"));
    wait(bench, milliseconds{50});
    bench.scan();
  }
  CHECK(bench.spec("one").cpus == 2);
  CHECK(bench.find("two"));
  CHECK(bench.row("a.yaml").state == "Applied");
}

TEST_CASE("a removal is not decided while another file settles: it may declare the object") {
  Bench bench(file_time());
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  wait(bench, milliseconds{100});
  bench.scan();
  REQUIRE(bench.find("one"));
  bench.erase("a.yaml");
  for (int i = 0; i < 20; ++i) {
    bench.put("b.yaml", vm_yaml("one", "  # " + std::string(static_cast<std::size_t>(i), 'x') + "\n"));
    wait(bench, milliseconds{90});
    bench.scan();
  }
  CHECK(bench.find("one"));
  wait(bench, milliseconds{100});
  bench.scan();
  CHECK(bench.owner("one") == "b.yaml");
}

}  // namespace
}  // namespace banger::intake
