// SPDX-License-Identifier: Apache-2.0
// Adopt mode: after the database was lost, nothing is pruned or collected until desired state was read in full or a person says
// so.
#pragma once

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace banger::controller {

// Entered when objects were put back from records, or labelled things stand beside an empty database. Survives the daemon: while
// it is active, why stands in a file. Thread-safe.
class AdoptMode {
 public:
  AdoptMode() = default;                           // remembers nothing: for tests
  explicit AdoptMode(std::filesystem::path file);  // active when the file is there, also when it cannot be read

  // Durable when it returns. why: one sentence, what was lost and what came back from where.
  Result<void> enter(std::string why);

  [[nodiscard]] bool active() const { return !why().empty(); }
  [[nodiscard]] std::string why() const;   // a sentence; empty while it is off
  [[nodiscard]] std::string text() const;  // one line for people, with what ends it; empty while it is off

  // From any thread. True if it was on; how is told to the log and to on_leave. A file that cannot be removed is logged: the mode
  // is over for this daemon.
  bool leave(std::string_view how = "a person said so");

  // Called by the thread that ends it. Before use.
  void on_leave(std::function<void(const std::string& how)> callback);

 private:
  const std::filesystem::path file_;
  mutable std::mutex mutex_;
  std::string why_;
  std::function<void(const std::string&)> on_leave_;
};

}  // namespace banger::controller
