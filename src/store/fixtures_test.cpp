// SPDX-License-Identifier: Apache-2.0
#include "store/fixtures_test.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/random.hpp"

extern char** environ;

namespace banger::store {
namespace {

// Tests damage stores on purpose; RocksDB warns of it.
[[maybe_unused]] const bool kQuiet = (log::set_up(log::Format::Text, log::Level::Error), true);

}  // namespace

TempDirectory::TempDirectory() {
  const char* chosen = std::getenv("TMPDIR");
  const bool in_memory = ::access("/dev/shm", W_OK | X_OK) == 0;
  const std::string base = chosen != nullptr ? chosen : in_memory ? "/dev/shm" : "/tmp";
  std::string pattern = base + "/banger-store-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TempDirectory::~TempDirectory() { (void)remove_tree(path_); }

api::Object make_vm(const std::string& name, const std::string& ns) {
  SystemRandom random;
  api::VirtualMachine vm;
  vm.spec.image = "demo";
  vm.spec.network_interfaces = {{.network = "default"}};
  api::Object object{.body = vm};
  object.meta.name = name;
  object.meta.ns = ns;
  object.meta.uid = new_uid(random);
  object.meta.generation = 1;
  return object;
}

api::Object make_network(const std::string& name) {
  SystemRandom random;
  api::Object object{.body = api::Network{}};
  object.meta.name = name;
  object.meta.uid = new_uid(random);
  object.meta.generation = 1;
  return object;
}

api::VirtualMachineSpec& spec_of(api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).spec; }
const api::VirtualMachineSpec& spec_of(const api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).spec; }

api::ObjectKey vm_key(const std::string& name, const std::string& ns) { return {api::Kind::VirtualMachine, ns, name}; }

std::unique_ptr<Store> must_open(const std::string& directory) { return must(open_rocksdb_store(directory)); }

Child::Child(const std::string& test_case, const std::map<std::string, std::string>& environment) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  output_ = UniqueFd(ends[0]);
  const UniqueFd writing(ends[1]);
  std::vector<std::string> words{"test_store", "--no-skip", "--test-case=" + test_case};
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  for (char** at = environ; *at != nullptr; ++at) variables.emplace_back(*at);
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (auto& word : words) argv.push_back(word.data());
  for (auto& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writing.get(), kChildOutput);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  const int error = ::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  REQUIRE(error == 0);
}

Child::~Child() {
  if (pid_ < 0) return;
  kill();
  wait();
}

std::string Child::read_some() {
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = ::read(output_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    return {buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  }
}

std::string Child::read_all() {
  std::string all;
  for (;;) {
    const auto some = read_some();
    if (some.empty()) return all;
    all += some;
  }
}

void Child::kill() { ::kill(pid_, SIGKILL); }

int Child::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void tell_parent(std::string_view text) {
  if (!write_all(kChildOutput, text)) std::abort();
}

std::string from_parent(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace banger::store
