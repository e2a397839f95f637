// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "guest_init/handover.hpp"

namespace banger::guest_init {
namespace {

struct FileSystem {
  const char* type;
  const char* where;
  const char* options;
  unsigned mode;
};
// What switch_root() has not brought along already.
constexpr std::array<FileSystem, 4> kFileSystems{{{"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666", 0755},
                                                  {"tmpfs", "/dev/shm", "mode=1777", 01777},
                                                  {"tmpfs", "/run", "mode=0755", 0755},
                                                  {"tmpfs", "/tmp", "mode=1777", 01777}}};
constexpr std::array<const char*, 2> kStarts{"/etc/banger/start", "/etc/rc.local"};
constexpr int kPatienceSeconds = 2;  // between SIGTERM and SIGKILL

sigset_t awaited() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) ::sigaddset(&set, signal);
  return set;
}

void start(const char* program) {
  const pid_t pid = ::fork();
  if (pid < 0) say(*problem(std::string("starting ") + program));
  if (pid != 0) return;
  const auto none = awaited();
  ::sigprocmask(SIG_UNBLOCK, &none, nullptr);
  ::setsid();
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) ::dup2(null, 0);
  ::execl(program, program, nullptr);
  say(*problem(std::string("running ") + program));
  ::_exit(127);
}

void reap() {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

// Tells all processes to end, kills those that do not, and takes the disks out of use as far as it goes.
void stop_everything() {
  ::kill(-1, SIGTERM);
  const auto deadline = milliseconds() + std::int64_t{kPatienceSeconds} * 1000;
  const auto set = awaited();
  for (;;) {
    reap();
    const auto left = deadline - milliseconds();
    if (left <= 0 || (::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD)) break;
    const timespec wait{.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1'000'000};
    ::sigtimedwait(&set, nullptr, &wait);
  }
  ::kill(-1, SIGKILL);
  reap();
  ::sync();
  // Read-only for all file systems on disks; a journal that is closed needs no recovery.
  ::umount2("/tmp", MNT_DETACH);
  ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
}

}  // namespace

void be_init() {
  for (const auto& fs : kFileSystems) {
    ::mkdir(fs.where, fs.mode);
    if (::mount(fs.type, fs.where, fs.type, MS_NOSUID | MS_NODEV, fs.options) != 0)
      say(*problem(std::string("mounting ") + fs.where));
  }
  const auto set = awaited();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::reboot(RB_DISABLE_CAD);  // Ctrl-Alt-Del becomes SIGINT
  for (const char* program : kStarts) {
    if (::access(program, X_OK) != 0) continue;
    say(std::string("starting ") + program);
    start(program);
    break;
  }
  for (;;) {
    siginfo_t info{};
    const int signal = ::sigwaitinfo(&set, &info);
    reap();
    if (signal < 0 || signal == SIGCHLD) continue;
    say(signal == SIGINT ? "restarting" : "switching off");
    stop_everything();
    end_machine(signal == SIGINT ? RB_AUTOBOOT : RB_POWER_OFF);
  }
}

}  // namespace banger::guest_init
