// SPDX-License-Identifier: Apache-2.0
#include "guest_init/devices.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/guest_config_format.hpp"
#include "guest_init/root.hpp"

namespace banger::guest_init {
namespace {

// The first line of a file below /sys.
std::string attribute(const std::string& path) {
  auto text = read_file(path.c_str());
  return text.substr(0, text.find('\n'));
}

// The name in the directory for which <directory>/<name>/<file> says value.
std::string find_by(const std::string& directory, const char* prefix, const char* file, const std::string& value) {
  std::string found;
  DIR* entries = ::opendir(directory.c_str());
  if (entries == nullptr) return found;
  while (const dirent* entry = ::readdir(entries)) {
    if (std::strncmp(entry->d_name, prefix, std::strlen(prefix)) != 0 || entry->d_name[0] == '.') continue;
    if (attribute(directory + "/" + entry->d_name + "/" + file) == value) found = entry->d_name;
  }
  ::closedir(entries);
  return found;
}

}  // namespace

void load_modules() {
  for (const auto& name : parse_module_order(read_file(guest_config::kModuleOrder))) {
    const auto path = std::string(guest_config::kModulesDirectory) + "/" + name;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    // A module for hardware that is not there (ENODEV) or that is loaded already is none of our concern.
    if (fd < 0 || (::syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV)) {
      say(*problem("loading module " + name) + ", ignoring");
    }
    if (fd >= 0) ::close(fd);
  }
}

Devices::Devices(std::int64_t deadline)
    : uevents_(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)), deadline_(deadline) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // the kernel's own events
  if (::bind(uevents_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) say(*problem("listening for devices"));
}

std::string Devices::wait_for(const std::function<std::string()>& look) const {
  for (;;) {
    auto found = look();
    const auto left = deadline_ - milliseconds();
    if (!found.empty() || left <= 0) return found;
    pollfd ready{.fd = uevents_, .events = POLLIN, .revents = 0};
    // A driver may answer a little after its event: look again after a quarter of a second at the latest.
    ::poll(&ready, 1, static_cast<int>(left < 250 ? left : 250));
    std::array<char, 4096> event{};
    while (::recv(uevents_, event.data(), event.size(), 0) > 0) {
    }
  }
}

std::string Devices::disk(const std::string& serial) const {
  const auto name = wait_for([&] { return find_by("/sys/block", "vd", "serial", serial); });
  return name.empty() ? "" : "/dev/" + name;
}

std::string Devices::card(const std::string& mac) const {
  return wait_for([&] { return find_by("/sys/class/net", "", "address", mac); });
}

}  // namespace banger::guest_init
