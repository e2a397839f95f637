// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/exit_watcher.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace banger::actuators::vmm {

ExitWatcher::ExitWatcher(std::function<void(const std::string& owner)> on_end)
    : on_end_(std::move(on_end)), epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  thread_ = std::thread([this] { run(); });
}

ExitWatcher::~ExitWatcher() {
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

void ExitWatcher::watch(const std::string& owner, std::int64_t pid, const UniqueFd& pidfd) {
  {
    const std::lock_guard lock(mutex_);
    if (known_.contains({pid, owner})) return;
  }
  UniqueFd own(::fcntl(pidfd.get(), F_DUPFD_CLOEXEC, 0));
  if (own.valid()) add(owner, pid, std::move(own));
}

void ExitWatcher::watch_child(const std::string& owner, std::int64_t pid, UniqueFd pidfd) { add(owner, pid, std::move(pidfd)); }

void ExitWatcher::add(const std::string& owner, std::int64_t pid, UniqueFd pidfd) {
  const std::lock_guard lock(mutex_);
  const auto id = next_id_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  const int fd = pidfd.get();
  known_.emplace(pid, owner);
  watched_.emplace(id, Watched{owner, pid, std::move(pidfd)});
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void ExitWatcher::run() {
  for (;;) {
    std::array<epoll_event, 64> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count; ++i) {
      const auto id = events[static_cast<std::size_t>(i)].data.u64;
      if (id == 0) return;
      ended(id);
    }
  }
}

void ExitWatcher::ended(std::uint64_t id) {
  Watched gone;
  {
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(id);
    if (found == watched_.end()) return;
    gone = std::move(found->second);
    watched_.erase(found);
    known_.erase({gone.pid, gone.owner});
  }
  siginfo_t info{};
  (void)::waitid(P_PIDFD, static_cast<id_t>(gone.pidfd.get()), &info, WEXITED | WNOHANG);  // ECHILD: not our child
  gone.pidfd.reset();
  on_end_(gone.owner);
}

}  // namespace banger::actuators::vmm
