// SPDX-License-Identifier: Apache-2.0
// Undo in reverse order unless the work was completed.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace banger {

class Rollback {
 public:
  Rollback() = default;
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() { run(); }

  void add(std::function<void()> undo) { undos_.push_back(std::move(undo)); }
  void dismiss() { undos_.clear(); }

 private:
  void run() {
    while (!undos_.empty()) {
      undos_.back()();
      undos_.pop_back();
    }
  }

  std::vector<std::function<void()>> undos_;
};

}  // namespace banger
