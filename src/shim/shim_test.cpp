// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "shim/options.hpp"
#include "shim/stream.hpp"

namespace {

namespace fs = std::filesystem;

struct Directory {
  fs::path path;
  Directory() {
    std::string name = fs::temp_directory_path() / "banger-shim-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Directory() { fs::remove_all(path); }
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// One shim; killed with its VMM (parent-death signal) when the test is over.
struct Run {
  pid_t pid = -1;
  int pidfd = -1;
  explicit Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), BANGER_SHIM);
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    REQUIRE(::posix_spawn(&pid, BANGER_SHIM, nullptr, nullptr, argv.data(), environ) == 0);
    pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  }
  ~Run() {
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    ::close(pidfd);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  int wait() {  // the exit code; -1 after 20 s
    pollfd polled{pidfd, POLLIN, 0};
    if (::poll(&polled, 1, 20'000) != 1) return -1;
    int status = 0;
    ::waitpid(pid, &status, 0);
    pid = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
};

std::vector<std::string> arguments(const Directory& directory, const std::vector<std::string>& acts,
                                   const std::vector<std::string>& more = {}) {
  std::vector<std::string> out{"--exit-record", directory.path / "exit.json", "--serial-log", directory.path / "serial.log",
                               "--vmm-log",     directory.path / "vmm.log"};
  out.insert(out.end(), more.begin(), more.end());
  out.insert(out.end(), {"--", BANGER_TEST_VMM});
  for (const auto& act : acts) out.push_back("act:" + act);
  return out;
}

// Waits until the file holds the text; tests have nothing else to wait for while the shim stays.
bool comes(const fs::path& path, const std::string& text) {
  for (int i = 0; i < 2000; ++i) {
    if (contains(read(path), text)) return true;
    ::usleep(5000);
  }
  return false;
}

}  // namespace

TEST_CASE("the exit record tells code, output and when") {
  const Directory directory;
  Run run(arguments(directory, {"print=boot\\a", "error=no\"way", "event={SHUTDOWN}", "exit=3"}));
  CHECK(run.wait() == 0);
  const auto record = read(directory.path / "exit.json");
  CHECK(contains(record, "\"exitCode\":3,\"signal\":0,\"finished\":1"));
  CHECK(contains(record, "\"error\":\"\""));
  CHECK(contains(record, "\"stderrTail\":\"no\\u0022way\""));
  CHECK(contains(record, "\"serialTail\":\"boot\\u005ca\""));
  CHECK(contains(record, "\"eventsTail\":\"{SHUTDOWN}\""));
  CHECK(read(directory.path / "serial.log") == "boot\\a");
  CHECK(read(directory.path / "vmm.log") == "no\"way");
  CHECK_FALSE(fs::exists(directory.path / "exit.json.tmp"));
}

TEST_CASE("a VMM ended by a signal is recorded with the signal") {
  const Directory directory;
  Run run(arguments(directory, {"signal=11"}));
  CHECK(run.wait() == 0);
  CHECK(contains(read(directory.path / "exit.json"), "\"exitCode\":0,\"signal\":11,"));
}

TEST_CASE("a VMM that cannot be started is recorded as such") {
  const Directory directory;
  auto asked = arguments(directory, {});
  asked.back() = directory.path / "no-such-program";
  Run run(asked);
  CHECK(run.wait() == 4);
  CHECK(contains(read(directory.path / "exit.json"), "no-such-program No such file or directory"));
}

TEST_CASE("a second shim is refused while the first holds the disk, and not after") {
  const Directory directory;
  const Directory second;
  std::ofstream(directory.path / "root.img") << "x";
  const std::vector<std::string> lock{"--lock", directory.path / "root.img"};
  {
    Run holder(arguments(directory, {"print=up"}, lock));
    REQUIRE(comes(directory.path / "serial.log", "up"));
    Run refused(arguments(second, {"print=up"}, lock));
    CHECK(refused.wait() == 3);
    CHECK(contains(read(second.path / "exit.json"), "root.img is in use by another VMM"));
    CHECK_FALSE(fs::exists(second.path / "serial.log"));
  }
  Run allowed(arguments(second, {"exit=0"}, lock));
  CHECK(allowed.wait() == 0);
}

TEST_CASE("a disk that is not there is recorded") {
  const Directory directory;
  Run run(arguments(directory, {}, {"--lock", directory.path / "none.img"}));
  CHECK(run.wait() == 4);
  CHECK(contains(read(directory.path / "exit.json"), "none.img No such file or directory"));
}

TEST_CASE("a flood on the serial line is bounded by two files and keeps the newest") {
  const Directory directory;
  Run run(arguments(directory, {"flood=5000000", "print=the-end", "exit=0"}, {"--serial-max", "1048576"}));
  CHECK(run.wait() == 0);
  CHECK(fs::file_size(directory.path / "serial.log") <= 1048576);
  CHECK(fs::file_size(directory.path / "serial.log.1") == 1048576);
  CHECK(read(directory.path / "serial.log").ends_with("the-end"));
  CHECK(std::distance(fs::directory_iterator(directory.path), fs::directory_iterator{}) == 4);
}

TEST_CASE("a VMM dies with its shim") {
  const Directory directory;
  pid_t vmm = 0;
  int pidfd = -1;
  {
    Run run(arguments(directory, {"report", "print=up"}));
    REQUIRE(comes(directory.path / "serial.log", "up"));
    std::ifstream children("/proc/" + std::to_string(run.pid) + "/task/" + std::to_string(run.pid) + "/children");
    children >> vmm;
    REQUIRE(vmm > 1);
    pidfd = static_cast<int>(::syscall(SYS_pidfd_open, vmm, 0));
  }
  pollfd polled{pidfd, POLLIN, 0};
  CHECK(::poll(&polled, 1, 10'000) == 1);
  ::close(pidfd);
}

TEST_CASE("nothing of the starter reaches the VMM, and terminal signals do not end the shim") {
  const Directory directory;
  const int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC on purpose
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  (void)std::signal(SIGPIPE, SIG_IGN);
  Run run(arguments(directory, {"report", "print=up"}));
  (void)std::signal(SIGPIPE, SIG_DFL);
  ::sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
  ::close(leaked);
  REQUIRE(comes(directory.path / "serial.log", "up"));
  const auto report = read(directory.path / "serial.log");
  CHECK(contains(report, "sid=" + std::to_string(run.pid)));
  CHECK(contains(report, "fds=0,1,2,3,\n"));
  CHECK(contains(report, "fd0=/dev/null"));
  CHECK(contains(report, "fd3=socket:"));
  CHECK(contains(report, "SigBlk:\t0000000000000000"));
  CHECK(contains(report, "SigIgn:\t0000000000000000"));
  CHECK(contains(report, "cwd=/\n"));
  for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGPIPE}) ::kill(run.pid, number);
  ::kill(run.pid, 0);
  CHECK_FALSE(fs::exists(directory.path / "exit.json"));
  CHECK(::waitpid(run.pid, nullptr, WNOHANG) == 0);
}

TEST_CASE("what is reparented to the shim is reaped and does not keep it") {
  const Directory directory;
  Run run(arguments(directory, {"orphan", "usleep=200000", "exit=5"}));
  CHECK(run.wait() == 0);
  CHECK(contains(read(directory.path / "exit.json"), "\"exitCode\":5,"));
}

TEST_CASE("a bad command line is refused") {
  CHECK(Run({"--exit-record", "/tmp/x", "--", "/bin/true"}).wait() == 2);
  CHECK(Run({}).wait() == 2);
  banger::shim::Options options;
  const auto problem = [&](std::vector<const char*> words) {
    words.insert(words.begin(), "banger-shim");
    options = {};
    const char* text = banger::shim::parse_options(static_cast<int>(words.size()), const_cast<char**>(words.data()), options);
    return std::string(text == nullptr ? "" : text);
  };
  CHECK(problem({"--exit-record", "exit.json", "--", "vmm"}) == "file names must be absolute");
  CHECK(problem({"--colour", "/x", "--", "vmm"}) == "unknown option");
  CHECK(problem({"--lock"}) == "an option without its value");
  CHECK(problem({"--serial-max", "-1", "--", "vmm"}) == "--serial-max: expected a number of bytes, at least 4096");
  CHECK(problem({"--exit-record", "/e", "--serial-log", "/s", "--vmm-log", "/v", "--"}) ==
        "expected -- and the VMM's command line");
}

TEST_CASE("a tail keeps the last bytes in order") {
  banger::shim::Tail tail;
  CHECK(tail.size() == 0);
  const std::string text(banger::shim::Tail::kSize + 10, 'a');
  tail.add(text.data(), text.size());
  tail.add("xyz", 3);
  REQUIRE(tail.size() == banger::shim::Tail::kSize);
  CHECK(tail.at(tail.size() - 1) == 'z');
  CHECK(tail.at(tail.size() - 3) == 'x');
  CHECK(tail.at(0) == 'a');
}
