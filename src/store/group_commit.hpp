// SPDX-License-Identifier: Apache-2.0
// Many writers, one sync: the first to come commits for all who wait, the others sleep until their answer is there.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "store/table.hpp"

namespace banger::store {

// One write on its way. Lives on the stack of the thread that asked.
struct PendingWrite {
  Write write;
  Result<ObjectPtr> answer = fail(internal("not committed"));
  bool done = false;  // under the lock of the group
};

class GroupCommit {
 public:
  // Answers every write of the batch. Called by one thread at a time.
  using Commit = std::function<void(const std::vector<PendingWrite*>& batch)>;

  explicit GroupCommit(Commit commit) : commit_(std::move(commit)) {}

  void submit(PendingWrite& write);                     // returns when it is answered
  void exclusively(const std::function<void()>& work);  // runs it while no batch is being committed

 private:
  static constexpr std::size_t kMaxWrites = 256;
  static constexpr std::size_t kMaxBytes = std::size_t{4} << 20U;

  std::vector<PendingWrite*> take();  // with the lock

  const Commit commit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<PendingWrite*> queue_;
  bool leading_ = false;  // somebody commits
};

}  // namespace banger::store
