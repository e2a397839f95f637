// SPDX-License-Identifier: Apache-2.0
#include "store/group_commit.hpp"

namespace banger::store {

std::vector<PendingWrite*> GroupCommit::take() {
  std::vector<PendingWrite*> batch;
  std::size_t bytes = 0;
  while (!queue_.empty() && batch.size() < kMaxWrites && bytes < kMaxBytes) {
    bytes += queue_.front()->write.text.size();
    batch.push_back(queue_.front());
    queue_.pop_front();
  }
  return batch;
}

void GroupCommit::submit(PendingWrite& write) {
  std::unique_lock lock(mutex_);
  queue_.push_back(&write);
  while (!write.done) {
    if (leading_) {
      changed_.wait(lock);
      continue;
    }
    leading_ = true;
    const auto batch = take();
    lock.unlock();
    commit_(batch);
    lock.lock();
    for (auto* each : batch) each->done = true;
    leading_ = false;
    changed_.notify_all();
  }
}

void GroupCommit::exclusively(const std::function<void()>& work) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !leading_; });
  leading_ = true;
  lock.unlock();
  work();
  lock.lock();
  leading_ = false;
  changed_.notify_all();
}

}  // namespace banger::store
