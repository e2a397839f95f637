// SPDX-License-Identifier: Apache-2.0
// banger-init: PID 1 of a guest from the kernel's first instruction in user space until the image's own init takes over.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/guest_config_format.hpp"
#include "guest_init/config.hpp"
#include "guest_init/console.hpp"
#include "guest_init/devices.hpp"
#include "guest_init/handover.hpp"
#include "guest_init/root.hpp"
#include "guest_init/texts.hpp"

namespace banger::guest_init {
namespace {

constexpr const char* kNewRoot = "/newroot";
constexpr const char* kAside = "/banger/disk";
constexpr std::int64_t kDevicePatience = 10'000;  // milliseconds

void complain(const Problem& problem) {
  if (problem) say(*problem + ", ignoring");
}

void insist(const Problem& problem) {
  if (problem) give_up(*problem);
}

void mount_kernel_file_systems() {
  for (const char* directory : {"/dev", "/proc", "/sys", kNewRoot}) ::mkdir(directory, 0755);
  const bool mounted = ::mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") == 0 &&
                       ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0 &&
                       ::mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
  if (!mounted) give_up(*problem("mounting /dev, /proc and /sys"));
  const int console = ::open("/dev/console", O_RDWR | O_NOCTTY);
  for (int fd = 0; console >= 0 && fd < 3; ++fd) ::dup2(console, fd);
  if (console > 2) ::close(console);
}

Config read_config() {
  const auto text = read_file(guest_config::kConfigFile);
  if (text.empty()) {
    say("the host gave no configuration");
    return {};
  }
  std::string reason;
  auto config = parse_config(text, reason);
  if (!config) give_up(std::string(guest_config::kConfigFile) + ", " + reason);
  return *config;
}

void mount_root(const Devices& devices) {
  const auto device = devices.disk(guest_config::kRootDisk);
  if (device.empty()) give_up("no disk with the serial number \"root\" within 10 s");
  insist(mount_disk(device, kNewRoot));
}

// A data disk that is to be mounted and cannot be ends the boot: what belongs on it must not go to the root disk instead. It is
// mounted aside first: a descriptor of the place where it belongs would go on to mean what lies below it.
void mount_data(const Devices& devices, const Root& root, const Mount& mount) {
  const auto device = devices.disk(mount.disk);
  ::mkdir(kAside, 0700);
  if (mount.path.empty()) {
    if (!device.empty() && !mount_disk(device, kAside)) ::umount(kAside);
    return;
  }
  if (device.empty()) give_up("no disk with the serial number \"" + mount.disk + "\" within 10 s");
  if (auto bad = mount_disk(device, kAside)) give_up(*bad + " on " + mount.path);
  const int where = root.make_directory(mount.path);
  const auto place = "/proc/self/fd/" + std::to_string(where);
  if (where < 0 || ::mount(kAside, place.c_str(), nullptr, MS_MOVE, nullptr) != 0) give_up(*problem("mounting on " + mount.path));
  ::close(where);
}

void name_host(const Root& root, const Config& config) {
  if (config.hostname.empty()) return;
  if (::sethostname(config.hostname.data(), config.hostname.size()) != 0) complain(problem("setting the host name"));
  complain(root.write("/etc/hostname", config.hostname + "\n", 0644, {}));
  complain(root.write("/etc/hosts", with_host(root.read("/etc/hosts"), config.hostname), 0644, {}));
}

void set_up_network(const Devices& devices, const Root& root, const Config& config) {
  complain(bring_up_loopback());
  std::uint32_t gateway = 0;
  for (const auto& nic : config.nics) {
    const auto card = devices.card(nic.mac);
    if (card.empty()) {
      say("no network card with the address " + nic.mac + " within 10 s, ignoring");
      continue;
    }
    complain(bring_up(card, nic));
    if (gateway == 0) gateway = nic.gateway;
  }
  if (gateway != 0) complain(add_default_route(gateway));
  if (!config.nameservers.empty()) complain(root.write("/etc/resolv.conf", resolv_conf(config.nameservers), 0644, {}));
}

void install_host_key(const Root& root) {
  complain(root.write("/etc/ssh/ssh_host_ed25519_key", read_file(guest_config::kHostKey), 0600, {}));
  complain(root.write("/etc/ssh/ssh_host_ed25519_key.pub", read_file(guest_config::kHostKeyPublic), 0644, {}));
  complain(root.write("/etc/dropbear/dropbear_ed25519_host_key", read_file(guest_config::kHostKeyDropbear), 0600, {}));
}

void install_user_keys(const Root& root, const Config& config) {
  const auto account = find_account(root.read("/etc/passwd"), config.user);
  if (!account) {
    say("the image has no user " + config.user + " in /etc/passwd, its SSH keys are left out");
    return;
  }
  const Root::Owner owner{account->uid, account->gid};
  const auto directory = account->home + (account->home.back() == '/' ? ".ssh" : "/.ssh");
  complain(root.own_directory(directory, 0700, owner));
  const auto path = directory + "/authorized_keys";
  complain(root.write(path, with_keys(root.read(path), config.keys), 0600, owner));
}

void write_files(const Root& root, const Config& config) {
  for (const auto& file : config.files) {
    const auto content = read_file((std::string(guest_config::kFilesDirectory) + "/" + std::to_string(file.number)).c_str());
    complain(root.write(file.path, content, file.mode, {}));
  }
}

[[noreturn]] void boot(char** arguments) {
  const auto began = milliseconds();
  mount_kernel_file_systems();
  const auto config = read_config();
  const Devices devices(began + kDevicePatience);
  load_modules();
  mount_root(devices);
  const Root root(kNewRoot);
  for (const auto& mount : config.mounts) mount_data(devices, root, mount);
  name_host(root, config);
  set_up_network(devices, root, config);
  if (!config.user.empty()) {
    install_host_key(root);
    install_user_keys(root, config);
  }
  write_files(root, config);
  const auto init = find_image_init(root);
  switch_root(root, kNewRoot);
  const auto took = " after " + std::to_string(milliseconds() - began) + " ms";
  if (init.empty()) {
    say("the image has no init, staying PID 1" + took);
    be_init();
  }
  say("handing over to " + init + took);
  give_up(*hand_over(init, arguments));
}

}  // namespace
}  // namespace banger::guest_init

int main(int, char** arguments) {
  if (::getpid() != 1) {
    banger::guest_init::say("this program is the first process of a guest and nothing else");
    return 2;
  }
  ::setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  banger::guest_init::boot(arguments);
}
