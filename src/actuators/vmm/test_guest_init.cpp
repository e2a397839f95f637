// SPDX-License-Identifier: Apache-2.0
// PID 1 of the guest that tests boot: says that it is there and does what act= on the kernel's command line says.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

int main() {
  ::mkdir("/proc", 0555);
  ::mount("proc", "/proc", "proc", 0, nullptr);
  ::mkdir("/dev", 0755);
  ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  const int console = ::open("/dev/ttyS0", O_WRONLY | O_NOCTTY);
  static constexpr char kHello[] = "guest is up\n";
  (void)!::write(console, kHello, sizeof kHello - 1);
  std::array<char, 4096> line{};
  const int file = ::open("/proc/cmdline", O_RDONLY);
  (void)!::read(file, line.data(), line.size() - 1);
  if (std::strstr(line.data(), "act=reboot") != nullptr) ::reboot(RB_AUTOBOOT);
  if (std::strstr(line.data(), "act=off") != nullptr) ::reboot(RB_POWER_OFF);
  if (std::strstr(line.data(), "act=panic") != nullptr) return 1;
  for (;;) ::pause();
}
