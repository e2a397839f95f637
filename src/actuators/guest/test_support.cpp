// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/test_support.hpp"
#include "base/testing.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace banger::actuators::guest {

ProgramOutput run_program(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(writer.get(), STDOUT_FILENO);
    ::dup2(writer.get(), STDERR_FILENO);
    ::execvp(argv.front(), argv.data());
    ::_exit(127);
  }
  writer.reset();
  ProgramOutput out;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(reader.get(), buffer.data(), buffer.size())) > 0;) {
    out.text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) out.exit_code = WEXITSTATUS(status);
  return out;
}

bool skip_without(const std::string& program) {
  for (const auto* directory : {"/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"}) {
    if (::access((directory + program).c_str(), X_OK) == 0) return false;
  }
  MESSAGE("skipped: ", program, " is not installed");
  return true;
}

namespace {

bool lo_up() {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

}  // namespace

bool skip_without_private_network() {
  static const bool done = ::geteuid() == 0 && ::unshare(CLONE_NEWNET) == 0 && lo_up();
  if (!done) MESSAGE("skipped: a private network namespace needs root");
  return !done;
}

TcpServer::TcpServer(std::function<void(int)> serve) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(listener_.get(), any, length) == 0);
  REQUIRE(::listen(listener_.get(), 16) == 0);
  REQUIRE(::getsockname(listener_.get(), any, &length) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this, serve = std::move(serve)] {
    for (;;) {
      const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection.valid()) return;  // shut down
      serve(connection.get());
    }
  });
}

TcpServer::~TcpServer() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
}

void Dropbear::serve(int connection) const {
  const passwd* root = ::getpwuid(0);
  const std::string root_home = root == nullptr ? "/root" : root->pw_dir;
  std::vector<std::string> words{"dropbear", "-i", "-m", "-s", "-r", host_key.native()};
  if (!forced_command.empty()) words.insert(words.end(), {"-c", forced_command});
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {  // only what is safe after fork in a threaded program
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const bool moved =
        banger::testing::enter_private_mounts() && ::mount(home.c_str(), root_home.c_str(), nullptr, MS_BIND, nullptr) == 0;
    if (!moved) ::_exit(126);
    ::dup2(connection, STDIN_FILENO);
    ::dup2(connection, STDOUT_FILENO);
    ::execv("/usr/sbin/dropbear", argv.data());
    ::_exit(127);
  }
  ::waitpid(pid, nullptr, 0);
}

}  // namespace banger::actuators::guest
