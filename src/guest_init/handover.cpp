// SPDX-License-Identifier: Apache-2.0
#include "guest_init/handover.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

#include "guest_init/config.hpp"

namespace banger::guest_init {
namespace {

constexpr std::array<const char*, 4> kInits{"/sbin/init", "/etc/init", "/bin/init", "/lib/systemd/systemd"};
constexpr std::array<const char*, 3> kMoved{"/dev", "/sys", "/proc"};

// Everything below the directory that lies on this device; the directory's descriptor is used up.
void remove_below(int directory, dev_t device) {
  DIR* entries = ::fdopendir(directory);
  if (entries == nullptr) return;
  while (const dirent* entry = ::readdir(entries)) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    struct stat info{};
    if (::fstatat(directory, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || info.st_dev != device) continue;
    if (S_ISDIR(info.st_mode)) {
      const int below = ::openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (below >= 0) remove_below(below, device);
      ::unlinkat(directory, entry->d_name, AT_REMOVEDIR);
    } else {
      ::unlinkat(directory, entry->d_name, 0);
    }
  }
  ::closedir(entries);
}

void free_initial_root() {
  struct stat info{};
  const int fd = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0 && ::fstat(fd, &info) == 0) remove_below(fd, info.st_dev);
}

}  // namespace

std::string find_image_init(const Root& root) {
  if (auto asked = init_of(read_file("/proc/cmdline")); !asked.empty()) {
    if (root.is_executable(asked)) return asked;
    say("init=" + asked + " is no program in the image, ignoring");
  }
  for (const char* init : kInits) {
    if (root.is_executable(init)) return init;
  }
  return "";
}

void switch_root(const Root& root, const char* new_root) {
  for (const char* from : kMoved) {
    const int to = root.make_directory(from);
    // The descriptors are named through /proc, so that goes last and by its own name.
    const bool is_proc = std::strcmp(from, "/proc") == 0;
    const auto target = is_proc ? std::string(new_root) + from : "/proc/self/fd/" + std::to_string(to);
    if (to < 0 || ::mount(from, target.c_str(), nullptr, MS_MOVE, nullptr) != 0) {
      give_up(*problem(std::string("moving ") + from + " into the root"));
    }
    ::close(to);
  }
  free_initial_root();
  if (::chdir(new_root) != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0 || ::chdir("/") != 0) {
    give_up(*problem("switching to the root"));
  }
}

Problem hand_over(const std::string& init, char** arguments) {
  std::vector<char*> list{const_cast<char*>(init.c_str())};
  for (char** argument = arguments + 1; *argument != nullptr; ++argument) list.push_back(*argument);
  list.push_back(nullptr);
  ::execv(init.c_str(), list.data());
  return problem("running " + init);
}

}  // namespace banger::guest_init
