// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/spawn.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>

#include <csignal>

#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/processes.hpp"

using namespace banger;
using namespace banger::actuators::vmm;

namespace {

struct Reap {
  Child child;
  ~Reap() {
    siginfo_t info{};
    ::kill(static_cast<pid_t>(child.pid), SIGKILL);
    ::waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED);
  }
};

std::string status_line(std::int64_t pid, const std::string& key) {
  const auto text = test::read_text("/proc/" + std::to_string(pid) + "/status");
  const auto at = text.find("\n" + key + ":\t");
  return at == std::string::npos ? "" : text.substr(at + key.size() + 3, text.find('\n', at + 1) - at - key.size() - 3);
}

}  // namespace

TEST_CASE("a program that is not there is an error that names it") {
  const auto child = spawn({{"/no/such/program"}});
  REQUIRE_FALSE(child);
  CHECK(child.error().message == "starting /no/such/program: exec: No such file or directory (ENOENT)");
  CHECK(child.error().code == ErrorCode::NotFound);
}

namespace {

// What the process has open, by target; files that it closes meanwhile are left out.
std::vector<std::string> open_files(std::int64_t pid) {
  std::vector<std::string> targets;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (!error) targets.push_back(target.native());
  }
  return targets;
}

}  // namespace

TEST_CASE("nothing of the starter reaches the child") {
  const int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC on purpose
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  struct sigaction before{};
  ::sigaction(SIGUSR1, &ignore, &before);
  auto child = spawn({{BANGER_TEST_VMM, "one", "two words"}});
  ::sigaction(SIGUSR1, &before, nullptr);
  ::close(leaked);
  REQUIRE(child);
  const Reap reap{*std::move(child)};
  const auto pid = reap.child.pid;
  // We go on once the child's exec has given our memory back, an instant before its arguments are in place.
  REQUIRE(test::eventually([&] { return !read_process(pid)->arguments.empty(); }));
  const auto process = read_process(pid);
  REQUIRE(process);
  CHECK(process->exe == BANGER_TEST_VMM);
  CHECK(process->arguments == std::vector<std::string>{BANGER_TEST_VMM, "one", "two words"});
  CHECK(process->ppid == ::getpid());
  CHECK(::getsid(static_cast<pid_t>(pid)) == pid);
  CHECK(status_line(pid, "SigIgn") == "0000000000000000");
  CHECK(status_line(pid, "SigBlk") == "0000000000000000");
  CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/cwd") == "/");
  // While the program's loader works it opens libraries; what was inherited would stay.
  const std::vector<std::string> nothing(3, "/dev/null");
  CHECK(test::eventually([&] { return open_files(pid) == nothing; }));
  CHECK(test::read_text("/proc/" + std::to_string(pid) + "/environ").starts_with("PATH=/usr/local/sbin:"));
}

TEST_CASE("our own signal mask and handlers are as they were") {
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  auto child = spawn({{BANGER_TEST_VMM, "act:exit=4"}});
  REQUIRE(child);
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (int number = 1; number < 32; ++number) CHECK(sigismember(&before, number) == sigismember(&after, number));
  siginfo_t info{};
  REQUIRE(::waitid(P_PIDFD, static_cast<id_t>(child->pidfd.get()), &info, WEXITED) == 0);
  CHECK(info.si_code == CLD_EXITED);
  CHECK(info.si_status == 4);
}
