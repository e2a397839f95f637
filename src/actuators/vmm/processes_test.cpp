// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/processes.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/spawn.hpp"

using namespace banger;
using namespace banger::actuators::vmm;

namespace {
const std::string kRest = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21\n";
}

TEST_CASE("stat is read behind the last parenthesis, whatever the command is called") {
  CHECK(parse_stat("77 (cat) S" + kRest) == ProcStat{'S', 1, 987654});
  CHECK(parse_stat("77 (a) Z 5 (b) S" + kRest) == ProcStat{'S', 1, 987654});
  CHECK(parse_stat("77 (evil) R 1 1\n) D" + kRest) == ProcStat{'D', 1, 987654});
  CHECK(parse_stat("77 () Z" + kRest)->state == 'Z');
}

TEST_CASE("a stat that is cut off or senseless is nothing") {
  for (const auto& text :
       std::vector<std::string>{"", "77", "77 (cat", "77 (cat)", "77 (cat) S", "77 (cat) S 1 2 3", "77 (cat) SS" + kRest,
                                "77 (cat) S x 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_stat(text));
  }
}

TEST_CASE("arguments are split at NUL, with and without a last one") {
  using namespace std::string_literals;
  CHECK(parse_cmdline("a\0b c\0"s) == std::vector<std::string>{"a", "b c"});
  CHECK(parse_cmdline("a\0\0b"s) == std::vector<std::string>{"a", "", "b"});
  CHECK(parse_cmdline("renamed: worker 1"s) == std::vector<std::string>{"renamed: worker 1"});
  CHECK(parse_cmdline("").empty());
}

TEST_CASE("a path counts as named only whole") {
  CHECK(names_path({"-qmp", "unix:/run/b/vm/x/qmp.sock,server=on"}, "/run/b/vm/x/qmp.sock"));
  CHECK(names_path({"/run/b/vm/x/qmp.sock"}, "/run/b/vm/x/qmp.sock"));
  CHECK(names_path({"unix:/run/a,,b/qmp.sock,wait=off"}, "/run/a,b/qmp.sock"));
  CHECK(names_path({"/q/qmp.sock2 /q/qmp.sock"}, "/q/qmp.sock"));
  CHECK_FALSE(names_path({"unix:/run/b/vm/x/qmp.sock2"}, "/run/b/vm/x/qmp.sock"));
  CHECK_FALSE(names_path({"/run/b/vm/", "x/qmp.sock"}, "/run/b/vm/x/qmp.sock"));
  CHECK_FALSE(names_path({"anything"}, ""));
}

TEST_CASE("a replaced program keeps its path") {
  CHECK(executable_path("/usr/bin/qemu (deleted)") == "/usr/bin/qemu");
  CHECK(executable_path("/usr/bin/qemu") == "/usr/bin/qemu");
}

TEST_CASE("a living process is found by its command line, a zombie is not") {
  const auto marker = test::fresh_uid();
  auto child = spawn({{BANGER_TEST_VMM, marker}});
  REQUIRE(child);
  REQUIRE(test::eventually([&] { return !find_processes(marker)->empty(); }));
  const auto found = find_processes(marker);
  REQUIRE(found);
  REQUIRE(found->size() == 1);
  CHECK(found->front().pid == child->pid);
  CHECK(found->front().start_time_ticks > 0);
  CHECK(found->front() == read_process(child->pid));
  ::kill(static_cast<pid_t>(child->pid), SIGKILL);
  siginfo_t info{};
  REQUIRE(::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED | WNOWAIT) == 0);
  CHECK_FALSE(read_process(child->pid));  // there, but a zombie
  CHECK(find_processes(marker)->empty());
  ::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED);
  CHECK_FALSE(read_process(child->pid));
}
