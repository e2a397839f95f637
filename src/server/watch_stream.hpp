// SPDX-License-Identifier: Apache-2.0
// A watch as a stream of JSON lines: initial objects, changes with selector edges, bookmarks, and the end.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/message.hpp"
#include "server/selector.hpp"
#include "server/view.hpp"
#include "store/store.hpp"

namespace banger::server {

struct WatchPlan {
  api::Kind kind = api::Kind::VirtualMachine;
  Selection selection;
  View view;
  bool bookmarks = false;
  bool mark_initial_end = false;  // WatchList: a bookmark with k8s.io/initial-events-end after the initial objects
  std::chrono::milliseconds bookmark_interval{60'000};
  SteadyTime deadline;
};

class WatchStream final : public Stream {
 public:
  // initial: objects to send as ADDED first (selected already); the watch starts at their snapshot, initial_revision.
  WatchStream(std::unique_ptr<store::Watch> watch, std::vector<api::Object> initial, store::Revision initial_revision,
              WatchPlan plan, Clock& clock);

  [[nodiscard]] std::string content_type() const override { return content_type_of(plan_.view); }
  Chunk next() override;
  [[nodiscard]] SteadyTime look_again() const override;
  [[nodiscard]] bool follows_store() const override { return true; }

 private:
  void add_event(std::string& out, std::string_view type, const api::Object& object);
  void add_change(std::string& out, store::Change& change);
  void add_bookmark(std::string& out, InitialEvents initial);
  void add_initial(std::string& out);

  std::unique_ptr<store::Watch> watch_;
  std::vector<api::Object> initial_;
  std::size_t initial_sent_ = 0;
  store::Revision initial_revision_;
  WatchPlan plan_;
  Clock& clock_;
  SteadyTime next_bookmark_;
  Columns columns_ = Columns::Included;
};

}  // namespace banger::server
