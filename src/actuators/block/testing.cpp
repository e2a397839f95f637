// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/testing.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

namespace banger::actuators::testing {

namespace {
std::string find_program(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  for (const char* directory : {"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"}) {
    const auto path = std::filesystem::path(directory) / program;
    if (::access(path.c_str(), X_OK) == 0) return path.native();
  }
  return "";
}
}  // namespace

bool is_installed(const std::string& program) {
  if (!find_program(program).empty()) return true;
  std::cerr << "SKIPPED: " << program << " is not installed\n";
  return false;
}

Ran run_program(const std::vector<std::string>& command) {
  const auto program = find_program(command.front());
  if (program.empty()) return {};
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<char*> arguments;
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int started = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  Ran ran;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; started == 0 && (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    ran.output.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  if (started == 0 && ::waitpid(pid, &status, 0) == pid && WIFEXITED(status)) ran.status = WEXITSTATUS(status);
  return ran;
}

Ran run_child(const std::string& test_case, const std::string& failpoints) {
  // Not by its path: in a root directory that is no mount point, private mounts make the kernel tell the path from outside of it.
  const auto self = "/proc/" + std::to_string(::getpid()) + "/exe";
  return run_program({"env", "BANGER_FAILPOINTS=" + failpoints, self, "-ns", "-tc=" + test_case});
}

bool is_clean(const std::filesystem::path& image) {
  static const bool present = is_installed("e2fsck");
  if (!present) return true;
  const auto ran = run_program({"e2fsck", "-fn", image.native()});
  if (ran.status != 0) std::cerr << ran.output.substr(0, 2000);
  return ran.status == 0;
}

std::string debugfs(const std::filesystem::path& image, const std::string& command) {
  static const bool present = is_installed("debugfs");
  return present ? run_program({"debugfs", "-R", command, image.native()}).output : "";
}

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write(const std::filesystem::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

}  // namespace banger::actuators::testing
