// SPDX-License-Identifier: Apache-2.0
#include "guest_init/console.hpp"

#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace banger::guest_init {

Problem problem(std::string_view doing) { return std::string(doing) + ": " + std::strerror(errno); }

void say(std::string_view text) {
  std::string line = "banger-init: ";
  for (const char c : text) line += static_cast<unsigned char>(c) < ' ' || c == 0x7F ? '?' : c;
  line += '\n';
  const int fd = ::open("/dev/console", O_WRONLY | O_CLOEXEC | O_NOCTTY);
  // Without a console there is nobody to tell.
  if (::write(fd >= 0 ? fd : 2, line.data(), line.size()) < 0) errno = 0;
  if (fd >= 0) {
    ::fsync(fd);  // let the line out before the machine may go
    ::close(fd);
  }
}

std::int64_t milliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void end_machine(int command) {
  ::sync();
  ::reboot(command);
  // Not PID 1, or a machine that cannot be switched off: the kernel panics and, told panic=-1, restarts.
  ::_exit(1);
}

void give_up(std::string_view why) {
  say("cannot boot this VM: " + std::string(why));
  say("switching off");
  end_machine(RB_POWER_OFF);
}

}  // namespace banger::guest_init
