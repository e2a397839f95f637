// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/process_table.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actuators/names.hpp"
#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/spawn.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::vmm;

TEST_CASE("the ids of monitor sockets are read out of a command line, each once") {
  using namespace std::string_literals;
  CHECK(ids_in("qemu\0-qmp\0unix:/run/b/vm/abc/qmp.sock,server=on\0"s) == std::vector<std::string>{"abc"});
  CHECK(ids_in("x\0/r/abc/qmp.sock\0/r/abc/qmp.sock\0/r/def/qmp.sock"s) == std::vector<std::string>{"abc", "def"});
  CHECK(ids_in("x\0qmp.sock"s).empty());
  CHECK(ids_in("").empty());
}

TEST_CASE("who names a socket is answered as it is now, wherever the last look was shared") {
  const auto id = short_id(test::fresh_uid());
  ProcessTable table;
  auto child = spawn({{BANGER_TEST_VMM, "-qmp", "unix:/run/none/" + id + "/qmp.sock,server=on"}});
  REQUIRE(child);
  REQUIRE(test::eventually([&] { return !table.naming(id)->empty(); }));
  const auto found = table.naming(id);
  REQUIRE(found->size() == 1);
  CHECK(found->front() == read_process(child->pid));
  CHECK(table.naming(short_id(test::fresh_uid()))->empty());
  ::kill(static_cast<pid_t>(child->pid), SIGKILL);
  siginfo_t info{};
  REQUIRE(::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED) == 0);
  CHECK(table.naming(id)->empty());  // within the time of the look that saw it
}

TEST_CASE("a table without /proc says so") {
  ProcessTable table("/nonexistent");
  CHECK_FALSE(table.naming("abc"));
}
