// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/snapshot_watcher.hpp"

#include <unistd.h>

#include <utility>

#include "actuators/block/device_mapper.hpp"
#include "actuators/block/root_disk_view.hpp"
#include "actuators/block/snapshot.hpp"

namespace banger::actuators::block {

std::optional<Fill> fill_of(std::string_view status_params) {
  using State = SnapshotStatus::State;
  const auto status = parse_snapshot_status(status_params);
  if (!status) return std::nullopt;
  Fill fill{.overflow = status->state == State::Overflow,
            .invalid = status->state == State::Invalid || status->state == State::MergeFailed};
  if (status->total != 0) fill.percent = static_cast<std::int64_t>(status->used * 100 / status->total);
  return fill;
}

SnapshotWatcher::SnapshotWatcher(Layout layout, std::function<void(const std::string& uid)> on_change,
                                 std::chrono::milliseconds period)
    : layout_(std::move(layout)),
      on_change_(std::move(on_change)),
      period_(period),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

SnapshotWatcher::~SnapshotWatcher() {
  thread_.request_stop();
  thread_.join();
}

void SnapshotWatcher::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    look();
    std::unique_lock lock(mutex_);
    stopped_.wait_for(lock, stop, period_, [] { return false; });
  }
}

void SnapshotWatcher::look() {
  if (!dm::is_loaded()) return;
  const auto names = dm::list();
  if (!names) return;  // a resync finds what this does not
  std::map<std::string, Fill> now;
  for (const auto& name : *names) {
    const auto uid = uid_of_dm_name(name);
    if (!uid) continue;
    const auto node = dm::find(name);
    if (!node || !*node || (*node)->uuid != dm_uuid(*uid) || (*node)->status.size() != 1) continue;
    const auto fill = fill_of((*node)->status.front().params);
    if (!fill) continue;
    now.emplace(*uid, *fill);
    const auto before = seen_.find(*uid);
    // A node that is seen first is seen by whoever made it too, unless it went wrong before anybody looked.
    const bool changed = before == seen_.end() ? fill->overflow || fill->invalid : before->second != *fill;
    if (changed && ::access(vm_dir(layout_, *uid).c_str(), F_OK) == 0) on_change_(*uid);
  }
  seen_ = std::move(now);
}

}  // namespace banger::actuators::block
