// SPDX-License-Identifier: Apache-2.0
#include "cli/rig.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/files.hpp"
#include "base/unique_fd.hpp"

namespace banger::cli {
namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
      read = UniqueFd(ends[0]);
      write = UniqueFd(ends[1]);
    }
  }
};

std::vector<char*> raw(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// False: that end is closed.
bool take(int fd, std::string& into) {
  std::array<char, 16384> block{};
  const auto got = ::read(fd, block.data(), block.size());
  if (got > 0) into.append(block.data(), static_cast<std::size_t>(got));
  return got > 0;
}

void collect(Said& said, UniqueFd& out, UniqueFd& err, const Call& call, pid_t child) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (out.valid() || err.valid()) {
    std::array<pollfd, 2> watched{{{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}}};
    const int ready = ::poll(watched.data(), watched.size(), 1000);
    if (std::chrono::steady_clock::now() > deadline) ::kill(child, SIGKILL);
    if (ready <= 0) continue;
    if (watched[0].revents != 0 && !take(out.get(), said.out)) out.reset();
    if (watched[1].revents != 0 && !take(err.get(), said.err)) err.reset();
    if (!call.stop_at.empty() && said.out.find(call.stop_at) != std::string::npos) ::kill(child, SIGTERM);
  }
}

}  // namespace

Said run_program(const std::string& program, const Call& call) {
  std::vector<std::string> arguments{"bangerctl"};
  arguments.insert(arguments.end(), call.arguments.begin(), call.arguments.end());
  std::vector<std::string> environment{fmt::format("PATH={}", std::getenv("PATH"))};
  environment.insert(environment.begin(), call.environment.begin(), call.environment.end());
  Pipe in;
  Pipe out;
  Pipe err;
  const auto child = ::fork();
  if (child == 0) {
    ::dup2(in.read.get(), 0);
    ::dup2(call.output.empty() ? out.write.get() : ::open(call.output.c_str(), O_WRONLY | O_CLOEXEC), 1);
    ::dup2(err.write.get(), 2);
    ::execve(program.c_str(), raw(arguments).data(), raw(environment).data());
    ::_exit(127);
  }
  in.read.reset();
  out.write.reset();
  err.write.reset();
  (void)write_all(in.write.get(), call.input);  // less than a pipe holds
  in.write.reset();
  Said said;
  collect(said, out.read, err.read, call, child);
  int status = 0;
  ::waitpid(child, &status, 0);
  said.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return said;
}

std::string golden_difference(std::string_view name, std::string_view text) {
  const auto path = fmt::format("{}/testdata/cli/{}", BANGER_SOURCE_ROOT, name);
  if (std::getenv("BANGER_UPDATE_GOLDENS") != nullptr) {
    std::ofstream(path) << text;
    return {};
  }
  std::ostringstream wanted;
  wanted << std::ifstream(path).rdbuf();
  if (wanted.str() == text) return {};
  return fmt::format("{} differs; it says now:\n{}\nand should say:\n{}", name, text, wanted.str());
}

}  // namespace banger::cli
