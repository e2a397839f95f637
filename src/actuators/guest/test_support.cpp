// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/test_support.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>

#include "base/unique_fd.hpp"

namespace banger::actuators::guest {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "banger-guest-XXXXXX").native();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

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

}  // namespace banger::actuators::guest
