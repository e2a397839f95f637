// SPDX-License-Identifier: Apache-2.0
// When to scan; what a scan does is in manifest_directory.cpp.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <thread>

#include "base/log.hpp"
#include "intake/manifest_directory.hpp"

namespace banger::intake {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDebounce{5};          // between the first word of a change and the scan: more of it is on its way
constexpr milliseconds kAfterWriting{100};    // between the word of a write under way and the scan
constexpr milliseconds kAfterFailure{1'000};  // the store cannot answer
constexpr milliseconds kLongWait{60'000};
constexpr std::size_t kChangesAtOnce = 64;

}  // namespace

void ManifestDirectory::poke() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(poke_.get(), &one, sizeof one);  // full: it is awake already
}

// Who confirms waits for what comes of it.
void ManifestDirectory::follow_confirmations(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto& store = objects_.store();
    const auto watch = store.watch({.kind = api::Kind::ManifestSource, .after = store.revision()});
    if (!watch) return;  // a look now and then finds it too
    const std::stop_callback wake(stop, [&] { (*watch)->wake(); });
    const auto token = [](const api::Object& source) {
      return std::get<api::ManifestSource>(source.body).spec.confirmed_prune_token;
    };
    while (!stop.stop_requested()) {
      const auto changes = (*watch)->next(kChangesAtOnce, kLongWait);
      if (!changes && changes.error().code != ErrorCode::Gone) return;
      if (!changes) break;
      for (const auto& change : *changes) {
        if (change.previous && token(*change.previous) != token(change.object)) poke();
      }
    }
    poke();
  }
}

void ManifestDirectory::run(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] { poke(); });
  const std::jthread confirmations([this](const std::stop_token& end) { follow_confirmations(end); });
  if (auto watch = ChangeWatch::open()) {
    watch_.emplace(*std::move(watch));
  } else {
    log::warning("no inotify, looking at the directory only now and then",
                 {{"directory", options_.directory}, {"error", watch.error().message}});
  }
  std::string last_error;
  while (!stop.stop_requested()) {
    const auto started = clock_.steady();
    const auto scanned = scan();
    if (!scanned && scanned.error().message != last_error) {
      log::warning("taking in manifests failed, will retry", {{"source", options_.name}, {"error", scanned.error().message}});
    }
    last_error = scanned ? "" : scanned.error().message;
    auto longest = std::min(options_.rescan, look_again_.value_or(options_.rescan));
    if (!scanned) longest = std::min(longest, kAfterFailure);
    // Under a storm of changes at most half of the time goes into scans.
    const auto took = clock_.steady() - started;
    wait_for_change(stop, std::max(longest, milliseconds{1}), std::clamp(took, kDebounce, milliseconds{1'000}));
  }
  watch_.reset();
  hints_.clear();
}

// Returns after at most longest; sooner when something was noticed, but then not before pause has passed.
void ManifestDirectory::wait_for_change(const std::stop_token& stop, milliseconds longest, milliseconds pause) {
  const auto begun = clock_.steady();
  auto until = begun + longest;
  while (!stop.stop_requested() && clock_.steady() < until) {
    std::array<pollfd, 2> fds{pollfd{.fd = poke_.get(), .events = POLLIN, .revents = 0},
                              pollfd{.fd = watch_ ? watch_->fd() : -1, .events = POLLIN, .revents = 0}};
    const auto left = std::max(until - clock_.steady(), milliseconds{0});
    if (::poll(fds.data(), fds.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) return;
    if ((fds[0].revents & POLLIN) != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto got = ::read(poke_.get(), &count, sizeof count);
      until = std::min(until, begun + pause);
    }
    if (!watch_ || (fds[1].revents & POLLIN) == 0) continue;
    const auto noticed = watch_->drain(hints_);
    if (noticed == Noticed::Change) until = std::min(until, std::max(clock_.steady() + kDebounce, begun + pause));
    if (noticed == Noticed::Writing) until = std::min(until, std::max(clock_.steady() + kAfterWriting, begun + pause));
  }
}

}  // namespace banger::intake
