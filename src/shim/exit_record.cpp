// SPDX-License-Identifier: Apache-2.0
#include "shim/exit_record.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace banger::shim {
namespace {

void put_byte(FILE* out, unsigned char byte) {
  if (byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x7f) {
    (void)std::fprintf(out, "\\u%04x", static_cast<unsigned>(byte));
  } else {
    (void)std::fputc(byte, out);
  }
}

void put_text(FILE* out, const char* key, const char* text) {
  (void)std::fprintf(out, ",\"%s\":\"", key);
  for (; *text != '\0'; ++text) put_byte(out, static_cast<unsigned char>(*text));
  (void)std::fputc('"', out);
}

void put_tail(FILE* out, const char* key, const Tail* tail) {
  (void)std::fprintf(out, ",\"%s\":\"", key);
  for (std::size_t i = 0; tail != nullptr && i < tail->size(); ++i) put_byte(out, static_cast<unsigned char>(tail->at(i)));
  (void)std::fputc('"', out);
}

long long now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

bool write_exit_record(const char* path, const Ending& ending) {
  std::array<char, PATH_MAX> temporary{};
  (void)std::snprintf(temporary.data(), temporary.size(), "%s.tmp", path);
  const int fd = ::open(temporary.data(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  FILE* out = ::fdopen(fd, "w");
  if (out == nullptr) {
    ::close(fd);
    return false;
  }
  (void)std::fprintf(out, "{\"pid\":%d,\"exitCode\":%d,\"signal\":%d,\"finished\":%lld", static_cast<int>(ending.pid),
                     ending.exit_code, ending.signal, now_ms());
  put_text(out, "error", ending.error);
  put_tail(out, "stderrTail", ending.standard_error);
  put_tail(out, "serialTail", ending.serial);
  put_tail(out, "eventsTail", ending.events);
  (void)std::fputs("}\n", out);
  const bool written = std::fflush(out) == 0 && std::ferror(out) == 0 && ::fsync(fd) == 0;
  const bool closed = std::fclose(out) == 0;
  if (!written || !closed || ::rename(temporary.data(), path) != 0) {
    ::unlink(temporary.data());
    return false;
  }
  return true;
}

}  // namespace banger::shim
