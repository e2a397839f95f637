// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/spawn.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace banger::actuators::vmm {
namespace {

constexpr std::size_t kStackSize = 256U << 10U;

// What the child reads, and where it leaves its error: the memory is shared and the parent waits (CLONE_VFORK).
struct Order {
  const char* path = nullptr;
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  const std::vector<int>* cgroup_procs = nullptr;
  const char* failed = nullptr;
  int error = 0;
};

class Stack {
 public:
  Stack() : memory_(::mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {}
  ~Stack() {
    if (valid()) ::munmap(memory_, kStackSize);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  [[nodiscard]] bool valid() const { return memory_ != MAP_FAILED; }
  [[nodiscard]] char* bottom() const { return static_cast<char*>(memory_); }

 private:
  void* memory_;
};

// All signals blocked: a handler of ours must not run in the child, which shares our memory.
class Blocked {
 public:
  Blocked() {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old_);
  }
  ~Blocked() { ::pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t old_{};
};

// In the child too, on a stack that a sanitizer does not know.
[[noreturn, gnu::no_sanitize("address", "thread", "undefined")]] void give_up(Order& order, const char* what) {
  order.error = errno;
  order.failed = what;
  ::_exit(127);
}

// Runs in the child: system calls only, no allocation.
__attribute__((no_sanitize("address", "thread", "undefined"))) int child(void* argument) {
  auto& order = *static_cast<Order*>(argument);
  // The raw call also reaches the two signals that glibc keeps for itself. All zero is SIG_DFL without flags.
  static constexpr std::array<std::uint64_t, 4> kDefault{};
  for (int number = 1; number < NSIG; ++number) ::syscall(SYS_rt_sigaction, number, kDefault.data(), nullptr, 8UL);
  for (const int fd : *order.cgroup_procs) {
    if (::write(fd, "0", 1) != 1) give_up(order, "entering the cgroup");
  }
  (void)::setsid();
  if (::chdir("/") != 0) give_up(order, "changing to /");
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) give_up(order, "opening /dev/null");
  for (int fd = 0; fd <= 2; ++fd) {
    if (::dup2(null, fd) < 0) give_up(order, "redirecting the standard streams");
  }
  // Descriptors are not shared (no CLONE_FILES): this marks the child's copies only.
  if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0) give_up(order, "closing descriptors");
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(order.path, order.argv, order.environment);
  give_up(order, "exec");
}

#if defined(__x86_64__)
// clone3 with a stack returns twice on two stacks, which C++ cannot say: the child's side stays in assembly until it calls
// child().
long clone3_call(clone_args& arguments, Order& order) {
  long result = SYS_clone3;
  register int (*entry)(void*) asm("r8") = child;
  register void* argument asm("r9") = &order;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r9, %%rdi\n\t"
      "call *%%r8\n\t"
      "hlt\n"
      "1:"
      : "+a"(result)
      : "D"(&arguments), "S"(sizeof arguments), "r"(entry), "r"(argument)
      : "rcx", "r11", "memory", "cc");
  if (result < 0) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return result;
}
#endif

// The pid, or -1 with errno.
long start(const Spawn& what, const Stack& stack, Order& order, int& pidfd) {
#if defined(__x86_64__)
  if (what.cgroup_directory >= 0) {
    clone_args arguments{};
    arguments.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_INTO_CGROUP;
    arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    arguments.stack = reinterpret_cast<std::uint64_t>(stack.bottom());
    arguments.stack_size = kStackSize;
    arguments.cgroup = static_cast<std::uint64_t>(what.cgroup_directory);
    return clone3_call(arguments, order);
  }
#endif
  return ::clone(child, stack.bottom() + kStackSize, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &order, &pidfd);
}

}  // namespace

Result<Child> spawn(const Spawn& what) {
  std::vector<char*> argv;
  argv.reserve(what.argv.size() + 1);
  for (const auto& word : what.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::string path_variable = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  std::string language = "LANG=C";
  const std::array<char*, 3> environment{path_variable.data(), language.data(), nullptr};
  const Stack stack;
  if (!stack.valid()) return fail(errno_error("making a stack for a new process", errno));
  Order order{what.argv.front().c_str(), argv.data(), environment.data(), &what.cgroup_procs};
  int pidfd = -1;
  long pid = -1;
  int error = 0;
  {
    const Blocked blocked;
    pid = start(what, stack, order, pidfd);
    error = errno;
  }
  if (pid < 0) return fail(errno_error(fmt::format("starting {}", what.argv.front()), error));
  Child started{pid, UniqueFd(pidfd)};
  if (order.failed != nullptr) {
    siginfo_t info{};
    (void)::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED);
    return fail(errno_error(fmt::format("starting {}: {}", what.argv.front(), order.failed), order.error));
  }
  return started;
}

}  // namespace banger::actuators::vmm
