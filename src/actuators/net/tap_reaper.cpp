// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/tap_reaper.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "actuators/names.hpp"
#include "actuators/net/link_reader.hpp"
#include "base/failpoint.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace banger::actuators::net {
namespace {

constexpr std::size_t kMostErrors = 4096;  // of links that nobody asks for any more

}  // namespace

TapReaper::TapReaper(std::string instance, TapReaperOptions options, RouteSocket socket)
    : instance_(std::move(instance)), options_(options), socket_(std::move(socket)) {}

Result<std::unique_ptr<TapReaper>> TapReaper::start(std::string instance, TapReaperOptions options) {
  BGR_TRY(auto socket, RouteSocket::open());
  BGR_TRY(const auto links, read_link_records(socket));
  std::unique_ptr<TapReaper> reaper(new TapReaper(std::move(instance), options, std::move(socket)));
  reaper->take_number(links);
  reaper->thread_ = std::thread([self = reaper.get()] { self->run(); });
  return reaper;
}

TapReaper::~TapReaper() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  woken_.notify_all();
  settled_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TapReaper::note(DoomedTap tap) {
  {
    std::unique_lock lock(mutex_);
    settled_.wait(lock, [&] { return stopping_ || held_.size() < options_.most; });
    if (!held_.insert(tap.index).second) return;
    errors_.erase(tap.index);
    waiting_.push_back(std::move(tap));
  }
  woken_.notify_all();
}

bool TapReaper::holds(int index) const {
  const std::scoped_lock lock(mutex_);
  return held_.contains(index);
}

std::optional<Error> TapReaper::take_error(int index) {
  const std::scoped_lock lock(mutex_);
  const auto found = errors_.find(index);
  if (found == errors_.end()) return std::nullopt;
  auto error = std::move(found->second);
  errors_.erase(found);
  return error;
}

bool TapReaper::settle(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  hurry_ = true;
  woken_.notify_all();
  const bool all = settled_.wait_for(lock, limit, [&] { return stopping_ || held_.empty(); });
  hurry_ = false;
  return all;
}

std::uint32_t TapReaper::group() const {
  const std::scoped_lock lock(mutex_);
  return group_;
}

std::size_t TapReaper::requests() const {
  const std::scoped_lock lock(mutex_);
  return requests_;
}

void TapReaper::run() {
  for (;;) {
    auto batch = next_batch();
    if (batch.empty()) return;
    std::vector<int> indices;
    indices.reserve(batch.size());
    for (const auto& tap : batch) indices.push_back(tap.index);
    remove(std::move(batch));
    {
      const std::scoped_lock lock(mutex_);
      for (const int index : indices) held_.erase(index);
    }
    settled_.notify_all();
  }
}

// Empty: it is over.
std::vector<DoomedTap> TapReaper::next_batch() {
  std::unique_lock lock(mutex_);
  woken_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
  const auto end = std::chrono::steady_clock::now() + options_.longest;
  while (!stopping_ && !hurry_ && waiting_.size() < options_.most) {
    const auto before = waiting_.size();
    const auto pause = std::min(std::chrono::steady_clock::now() + options_.quiet, end);
    const bool more = woken_.wait_until(lock, pause, [&] { return stopping_ || hurry_ || waiting_.size() > before; });
    if (!more) break;
  }
  if (stopping_) return {};
  return std::exchange(waiting_, {});
}

void TapReaper::remove(std::vector<DoomedTap> batch) {
  if (batch.size() == 1) return remove_alone(batch.front());
  mark(batch);
  if (auto stop = failpoint("net.taps-marked")) {
    for (const auto& tap : batch) keep_error(tap, *stop);
    return;
  }
  const auto look = look_at(batch);
  if (look && look->alone) return remove_together(*look);
  if (!look) {  // links come and go too fast for a look at all of them
    for (auto& tap : batch) remove_alone(tap);
    return;
  }
  for (auto* tap : look->fit) remove_alone(*tap);
}

// 15 us each. One that cannot be marked is not in the group, and is found so.
void TapReaper::mark(std::vector<DoomedTap>& batch) {
  for (const auto& tap : batch) {
    const auto marked = socket_.change(change_link(tap.index, {.group = group()}), "marking " + tap.name);
    if (!marked && marked.error().code != ErrorCode::NotFound) keep_error(tap, marked.error());
  }
}

bool TapReaper::is_as_noted(const LinkRecord& link, const DoomedTap& tap) const {
  return link.view.name == tap.name && link.view.kind == "tun" && owner_by_label(link.view.alias, instance_) == tap.owner_uid;
}

// Who is in the group, and whether each is what was noted.
Result<TapReaper::Look> TapReaper::look_at(std::vector<DoomedTap>& batch) {
  BGR_TRY(const auto links, read_link_records(socket_));
  const auto number = group();
  std::map<int, DoomedTap*> noted;
  for (auto& tap : batch) noted.emplace(tap.index, &tap);
  Look look;
  bool foreign = false;
  for (const auto& link : links) {
    const auto found = noted.find(index_of(link));
    const bool marked = link.group == number;
    if (found == noted.end()) {
      foreign = foreign || marked;
      continue;
    }
    if (is_as_noted(link, *found->second)) {
      if (marked) look.fit.push_back(found->second);
      continue;
    }
    keep_error(*found->second,
               {ErrorCode::Conflict, fmt::format("NameConflict: link {} was given to somebody else (alias \"{}\")",
                                                 link.view.name, printable(link.view.alias))});
    foreign = foreign || marked;
    if (marked) (void)socket_.change(change_link(index_of(link), {.group = 0}), "unmarking " + link.view.name);
  }
  look.alone = !foreign;
  if (foreign) {
    log::warning("a link that is not to go bears the group of those that are, they are removed one by one",
                 {{"group", fmt::format("{}", number)}});
    take_number(links);
  }
  return look;
}

void TapReaper::remove_together(const Look& look) {
  if (look.fit.empty()) return;
  {
    const std::scoped_lock lock(mutex_);
    ++requests_;
  }
  const auto removed = socket_.change(delete_group(group()), fmt::format("removing {} taps", look.fit.size()));
  if (removed || removed.error().code == ErrorCode::NotFound) return;
  log::warning("removing taps together failed, they are removed one by one", {{"error", removed.error().message}});
  for (auto* tap : look.fit) remove_alone(*tap);
}

// Closing the device removes it, 16 ms later.
void TapReaper::remove_alone(DoomedTap& tap) {
  const auto link = read_link(socket_, tap.index);
  if (!link) return keep_error(tap, link.error());
  if (!*link) return;
  if (!is_as_noted(**link, tap)) {
    return keep_error(tap, {ErrorCode::Conflict, fmt::format("NameConflict: link {} was given to somebody else (alias \"{}\")",
                                                             (*link)->view.name, printable((*link)->view.alias))});
  }
  {
    const std::scoped_lock lock(mutex_);
    ++requests_;
  }
  if (const auto gone = tap.device.abandon(); !gone) return keep_error(tap, gone.error());
  [[maybe_unused]] const TapDevice closed = std::move(tap.device);
}

void TapReaper::keep_error(const DoomedTap& tap, const Error& error) {
  const std::scoped_lock lock(mutex_);
  if (errors_.size() >= kMostErrors) errors_.clear();
  errors_.emplace(tap.index, with_context(error, "removing tap " + tap.name));
}

// One that no link bears. 0 is every link's by default, and cannot be removed.
void TapReaper::take_number(const std::vector<LinkRecord>& links) {
  std::uint32_t number = 0;
  const auto taken = [&](const LinkRecord& link) { return link.group == number; };
  do {
    std::array<std::uint8_t, sizeof number> bytes{};
    random_.fill(bytes);
    std::memcpy(&number, bytes.data(), sizeof number);
  } while (number == 0 || number == ~std::uint32_t{0} || std::ranges::any_of(links, taken));
  const std::scoped_lock lock(mutex_);
  group_ = number;
}

}  // namespace banger::actuators::net
