// SPDX-License-Identifier: Apache-2.0
#include "intake/change_watch.hpp"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "intake/directory_reader.hpp"

namespace banger::intake {
namespace {

constexpr std::uint32_t kWatched = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK;

// One event of a file with a manifest's name.
Noticed note(std::uint32_t mask, const std::string& path, WriterHints& hints) {
  if ((mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0) {
    hints[path] = WriterHint::Closed;
  } else if ((mask & (IN_MODIFY | IN_CREATE)) != 0) {
    hints[path] = WriterHint::Open;
    return Noticed::Writing;
  } else if ((mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
    hints.erase(path);
  }
  return Noticed::Change;
}

}  // namespace

Result<ChangeWatch> ChangeWatch::open() {
  UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd.valid()) return fail(errno_error("watching directories (inotify_init1)", errno));
  return ChangeWatch(std::move(fd));
}

void ChangeWatch::watch(int directory_fd, const std::string& relative) {
  // By descriptor: the very directory that is being read, whatever its path means by now. Without a watch (the user's limit is
  // reached) the periodic look still finds every change.
  const int wd = ::inotify_add_watch(fd_.get(), fmt::format("/proc/self/fd/{}", directory_fd).c_str(), kWatched);
  if (wd < 0) return;
  directories_[wd] = relative;
  named_.insert(wd);
}

void ChangeWatch::end() {
  for (auto it = directories_.begin(); it != directories_.end();) {
    if (named_.contains(it->first)) {
      ++it;
      continue;
    }
    ::inotify_rm_watch(fd_.get(), it->first);
    it = directories_.erase(it);
  }
}

Noticed ChangeWatch::drain(WriterHints& hints) {
  Noticed noticed = Noticed::Nothing;
  alignas(inotify_event) std::array<char, 64U << 10U> buffer;
  for (;;) {
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return noticed;
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const std::string name(event.len > 0 ? buffer.data() + at + sizeof event : "");
      at += sizeof event + event.len;
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        hints.clear();
        noticed = Noticed::Change;
        continue;
      }
      const auto directory = directories_.find(event.wd);
      if ((event.mask & IN_IGNORED) != 0 || directory == directories_.end()) continue;
      const bool of_directory = name.empty() || (event.mask & IN_ISDIR) != 0;
      if (of_directory) {
        if (name.empty() || !is_ignored_name(name)) noticed = Noticed::Change;
        continue;
      }
      if (!is_manifest_name(name)) continue;
      const auto path = directory->second.empty() ? name : fmt::format("{}/{}", directory->second, name);
      noticed = std::max(noticed, note(event.mask, path, hints));
    }
  }
}

}  // namespace banger::intake
