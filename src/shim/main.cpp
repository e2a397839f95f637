// SPDX-License-Identifier: Apache-2.0
// banger-shim: the parent of one VMM. Holds the lock on the VM's disks, keeps the logs, reaps, writes down how it ended. It
// decides nothing, and nothing of the daemon that started it reaches it: the VM outlives the daemon.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "shim/exit_record.hpp"
#include "shim/options.hpp"
#include "shim/stream.hpp"

namespace banger::shim {
namespace {

enum ExitCode { kDone = 0, kUsage = 2, kDiskInUse = 3, kStartFailed = 4, kNoRecord = 5 };

// QEMU locks bytes 100 to 263 of an image with OFD locks of its own; a whole-file lock would lock our own VMM out.
constexpr off_t kLockStart = 0;
constexpr off_t kLockLength = 64;
constexpr int kEventsFd = 3;  // where the VMM finds its end of the event monitor
constexpr std::uint64_t kVmmLogMax = 256U << 10U;
constexpr std::size_t kChunk = 256U << 10U;

// A shim is one VM: its state is as global as the process.
struct Shim {
  Options options;
  RotatingLog serial_log;
  RotatingLog vmm_log;
  Stream serial;
  Stream standard_error;
  Stream events;
  std::array<char, 1024> error{};
  pid_t vmm = 0;
};
Shim shim;  // NOLINT: see above

int give_up(int code, const char* what, const char* name, const char* why) {
  (void)std::snprintf(shim.error.data(), shim.error.size(), "%s %s %s", what, name, why);
  (void)write_exit_record(shim.options.exit_record, Ending{.error = shim.error.data()});
  return code;
}

void leave_the_daemon_behind() {
  (void)::syscall(SYS_close_range, 3U, ~0U, 0U);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; null >= 0 && fd <= 2; ++fd) ::dup2(null, fd);
  if (null > 2) ::close(null);
  (void)::setsid();  // fails only where it is done already
  (void)::chdir("/");
  ::umask(077);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2}) {
    (void)std::signal(number, SIG_IGN);
  }
  (void)std::signal(SIGCHLD, SIG_DFL);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);  // a core file would hold the guest's memory
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

// 0, or the exit code after the record was written. The descriptors stay open, and with them the locks, until we exit.
int lock_disks() {
  for (std::size_t i = 0; i < shim.options.lock_count; ++i) {
    const char* path = shim.options.locks[i];
    const int fd = ::open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return give_up(kStartFailed, "disk", path, std::strerror(errno));
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = kLockStart;
    lock.l_len = kLockLength;
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) continue;
    if (errno == EAGAIN || errno == EACCES) return give_up(kDiskInUse, "disk", path, "is in use by another VMM");
    return give_up(kStartFailed, "locking disk", path, std::strerror(errno));
  }
  return 0;
}

struct Ends {
  std::array<int, 2> serial{-1, -1};
  std::array<int, 2> standard_error{-1, -1};
  std::array<int, 2> events{-1, -1};
  std::array<int, 2> failure{-1, -1};  // closes at exec; carries errno when that fails
};

bool make_ends(Ends& ends) {
  return ::pipe2(ends.serial.data(), O_CLOEXEC) == 0 && ::pipe2(ends.standard_error.data(), O_CLOEXEC) == 0 &&
         ::pipe2(ends.failure.data(), O_CLOEXEC) == 0 &&
         ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.events.data()) == 0;
}

[[noreturn]] void become_vmm(const Ends& ends, pid_t parent) {
  // A VMM must not live on without the holder of its disks' lock.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::getppid() != parent) ::_exit(kStartFailed);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  // The raw call also reaches the two signals that glibc keeps for itself. All zero is SIG_DFL without flags.
  static constexpr std::array<std::uint64_t, 4> kDefault{};
  for (int number = 1; number < NSIG; ++number) (void)::syscall(SYS_rt_sigaction, number, kDefault.data(), nullptr, 8UL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int failure = ::fcntl(ends.failure[1], F_DUPFD_CLOEXEC, 64);
  const int events = ::fcntl(ends.events[1], F_DUPFD_CLOEXEC, 64);
  ::dup2(ends.serial[1], 1);
  ::dup2(ends.standard_error[1], 2);
  ::dup2(events, kEventsFd);
  // The daemon's protection from the out-of-memory killer is not for guests.
  if (const int oom = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); oom >= 0) {
    (void)!::write(oom, "0", 1);
    ::close(oom);
  }
  ::execv(shim.options.vmm[0], shim.options.vmm);
  const int error = errno;
  (void)!::write(failure, &error, sizeof error);
  ::_exit(kStartFailed);
}

void watch(Stream& stream, int fd, RotatingLog* log) {
  (void)::fcntl(fd, F_SETFL, O_NONBLOCK);
  stream.fd = fd;
  stream.log = log;
}

// 0, or errno of what failed.
int start_vmm() {
  Ends ends;
  if (!make_ends(ends)) return errno;
  const pid_t parent = ::getpid();
  shim.vmm = ::fork();
  if (shim.vmm < 0) return errno;
  if (shim.vmm == 0) become_vmm(ends, parent);
  for (const int theirs : {ends.serial[1], ends.standard_error[1], ends.events[1], ends.failure[1]}) ::close(theirs);
  int error = 0;
  if (::read(ends.failure[0], &error, sizeof error) != sizeof error) error = 0;
  ::close(ends.failure[0]);
  watch(shim.serial, ends.serial[0], &shim.serial_log);
  watch(shim.standard_error, ends.standard_error[0], &shim.vmm_log);
  watch(shim.events, ends.events[0], nullptr);
  if (error != 0) {
    (void)::waitpid(shim.vmm, nullptr, 0);
    shim.vmm = 0;
    return error;
  }
  // Events are sent only to a monitor that has introduced itself. A VMM without one never reads this.
  static constexpr char kHello[] = "{\"execute\":\"qmp_capabilities\"}\n";
  (void)::send(shim.events.fd, kHello, sizeof kHello - 1, MSG_NOSIGNAL);
  return 0;
}

// Reaps whatever ended. True: the VMM was among it, and status is how.
bool reap(int& status) {
  bool ended = false;
  for (;;) {
    int child_status = 0;
    const pid_t pid = ::waitpid(-1, &child_status, WNOHANG);
    if (pid <= 0) return ended;
    if (pid != shim.vmm) continue;
    status = child_status;
    ended = true;
  }
}

int stay(int signals) {
  for (;;) {
    std::array<pollfd, 4> polled{
        {{shim.serial.fd, POLLIN, 0}, {shim.standard_error.fd, POLLIN, 0}, {shim.events.fd, POLLIN, 0}, {signals, POLLIN, 0}}};
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    int status = 0;
    bool ended = false;
    if (polled[3].revents != 0) {
      signalfd_siginfo info{};
      (void)!::read(signals, &info, sizeof info);
      ended = reap(status);
    }
    // After its end at most what fits the pipes is left; a child that holds them open does not keep us.
    for (Stream* stream : {&shim.serial, &shim.standard_error, &shim.events}) copy(*stream, ended ? 4 * kChunk : kChunk);
    if (ended) return status;
  }
}

int run(int argc, char** argv) {
  if (const char* problem = parse_options(argc, argv, shim.options)) {
    (void)std::fprintf(stderr, "banger-shim: %s\n", problem);
    return kUsage;
  }
  leave_the_daemon_behind();
  if (const int code = lock_disks(); code != 0) return code;
  if (!shim.serial_log.open(shim.options.serial_log, shim.options.serial_max)) {
    return give_up(kStartFailed, "opening", shim.options.serial_log, std::strerror(errno));
  }
  if (!shim.vmm_log.open(shim.options.vmm_log, kVmmLogMax)) {
    return give_up(kStartFailed, "opening", shim.options.vmm_log, std::strerror(errno));
  }
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  const int signals = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return give_up(kStartFailed, "making", "a signalfd", std::strerror(errno));
  if (const int error = start_vmm(); error != 0) {
    return give_up(kStartFailed, "starting", shim.options.vmm[0], std::strerror(error));
  }
  const int status = stay(signals);
  const bool recorded =
      write_exit_record(shim.options.exit_record, Ending{.pid = shim.vmm,
                                                         .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                                                         .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                                                         .standard_error = &shim.standard_error.tail,
                                                         .serial = &shim.serial.tail,
                                                         .events = &shim.events.tail});
  return recorded ? kDone : kNoRecord;
}

}  // namespace
}  // namespace banger::shim

int main(int argc, char** argv) { return banger::shim::run(argc, argv); }
