// SPDX-License-Identifier: Apache-2.0
// Stands where QEMU stands in the benchmark: notes when its main() began, then answers its monitor as a running guest's would.
// Its note, one line of fixed length, goes to <program>.starts where that file exists: name, CLOCK_MONOTONIC in ns, pid.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <ctime>

namespace {

constexpr int kClients = 8;
constexpr char kGreeting[] =
    "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":0,\"major\":0},\"package\":\"noop\"},\"capabilities\":[]}}\r\n";

const char* value_of(int argc, char** argv, const char* option) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], option) == 0) return argv[i + 1];
  }
  return "";
}

// "banger-…,process=NAME" → NAME
const char* process_name(const char* name) {
  const char* at = std::strstr(name, "process=");
  return at == nullptr ? name : at + std::strlen("process=");
}

void note(const char* program, const char* name, const timespec& began) {
  char path[256];
  (void)std::snprintf(path, sizeof path, "%s.starts", program);
  const int fd = ::open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return;
  char line[64];
  const long long ns = began.tv_sec * 1'000'000'000LL + began.tv_nsec;
  const int length = std::snprintf(line, sizeof line, "%-16.16s%20lld%10d\n", name, ns, static_cast<int>(::getpid()));
  (void)!::write(fd, line, static_cast<std::size_t>(length));
  ::close(fd);
}

int listen_at(const char* option) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strncmp(option, "unix:", 5) != 0) return -1;
  const std::size_t length = std::strcspn(option + 5, ",");
  if (length >= sizeof address.sun_path) return -1;
  std::memcpy(address.sun_path, option + 5, length);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, kClients) != 0) return -1;
  return fd;
}

void answer(int fd, const char* question) {
  char id[64] = "";
  if (const char* at = std::strstr(question, "\"id\":\""); at != nullptr) (void)std::sscanf(at + 6, "%63[^\"]", id);
  const bool status = std::strstr(question, "query-status") != nullptr;
  char out[256];
  const int length = std::snprintf(out, sizeof out, "{\"return\":{%s},\"id\":\"%s\"}\r\n",
                                   status ? "\"status\":\"running\",\"singlestep\":false,\"running\":true" : "", id);
  (void)::send(fd, out, static_cast<std::size_t>(length), MSG_NOSIGNAL);
}

// False when the other side has gone. Whole lines come in one piece: nobody sends more than a few hundred bytes.
bool serve(int fd) {
  char buffer[4096];
  const ssize_t got = ::recv(fd, buffer, sizeof buffer - 1, 0);
  if (got <= 0) return false;
  buffer[got] = '\0';
  char* rest = nullptr;
  for (char* line = ::strtok_r(buffer, "\n", &rest); line != nullptr; line = ::strtok_r(nullptr, "\n", &rest)) answer(fd, line);
  return true;
}

void run_monitor(int listener) {
  pollfd fds[1 + kClients];
  for (auto& each : fds) each = {-1, POLLIN, 0};
  fds[0].fd = listener;
  for (;;) {
    if (::poll(fds, 1 + kClients, -1) < 0) continue;
    for (int i = 1; i <= kClients; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0 || serve(fds[i].fd)) continue;
      ::close(fds[i].fd);
      fds[i].fd = -1;
    }
    if (fds[0].revents == 0) continue;
    const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    int slot = 1;
    while (slot <= kClients && fds[slot].fd >= 0) ++slot;
    if (client >= 0 && slot <= kClients) {
      fds[slot].fd = client;
      (void)::send(client, kGreeting, sizeof kGreeting - 1, MSG_NOSIGNAL);
    } else if (client >= 0) {
      ::close(client);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  timespec began{};
  ::clock_gettime(CLOCK_MONOTONIC, &began);
  note(argv[0], process_name(value_of(argc, argv, "-name")), began);
  const int listener = listen_at(value_of(argc, argv, "-qmp"));
  if (listener < 0) return 1;
  run_monitor(listener);
}
