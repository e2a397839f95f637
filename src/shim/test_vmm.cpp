// SPDX-License-Identifier: Apache-2.0
// Stands in for a VMM in tests. Its acts are arguments "act:…", done in order; other arguments are ignored; then it sleeps.
#include <dirent.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

long number(const char* text) { return std::strtol(text, nullptr, 10); }

// What a program can inherit from whoever started it, one "name=value" a line.
void report() {
  std::printf("sid=%d pgid=%d ppid=%d\n", ::getsid(0), ::getpgid(0), ::getppid());
  std::string fds;
  if (DIR* dir = ::opendir("/proc/self/fd")) {
    while (const dirent* entry = ::readdir(dir)) {
      if (entry->d_name[0] != '.' && number(entry->d_name) != ::dirfd(dir)) fds += std::string(entry->d_name) + ",";
    }
    ::closedir(dir);
  }
  std::printf("fds=%s\n", fds.c_str());
  for (int fd = 0; fd <= 3; ++fd) {
    char target[256] = "";
    (void)!::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1);
    std::printf("fd%d=%s\n", fd, target);
  }
  if (FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    while (std::fgets(line, sizeof line, status) != nullptr) {
      if (std::strncmp(line, "Sig", 3) == 0) std::fputs(line, stdout);
    }
    (void)std::fclose(status);
  }
  std::printf("cwd=%s\n", ::get_current_dir_name());
  std::fflush(stdout);
}

void flood(long bytes) {
  std::string line(79, 'x');
  line += '\n';
  for (long sent = 0; sent < bytes; sent += 80) {
    if (::write(1, line.data(), line.size()) <= 0) std::exit(9);
  }
}

// A grandchild whose parent is gone, which ends by itself a moment later.
void orphan() {
  if (::fork() != 0) return;
  if (::fork() != 0) ::_exit(0);
  ::usleep(50'000);
  ::_exit(7);
}

bool is(const char* act, const char* name, const char*& value) {
  const auto length = std::strlen(name);
  value = act + length;
  return std::strncmp(act, name, length) == 0;
}

void play(const char* act) {
  const char* value = nullptr;
  if (is(act, "report", value)) report();
  if (is(act, "flood=", value)) flood(number(value));
  if (is(act, "print=", value)) (void)!::write(1, value, std::strlen(value));
  if (is(act, "error=", value)) (void)!::write(2, value, std::strlen(value));
  if (is(act, "event=", value)) (void)!::write(3, value, std::strlen(value));
  if (is(act, "orphan", value)) orphan();
  if (is(act, "usleep=", value)) ::usleep(static_cast<unsigned>(number(value)));
  if (is(act, "signal=", value)) ::raise(static_cast<int>(number(value)));
  if (is(act, "exit=", value)) ::_exit(static_cast<int>(number(value)));
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    for (const char* act = std::strstr(argv[i], "act:"); act != nullptr; act = std::strstr(act + 4, "act:")) {
      const std::string one(act + 4, std::strcspn(act + 4, " "));
      play(one.c_str());
    }
  }
  for (;;) ::pause();
}
