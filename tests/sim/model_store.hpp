// SPDX-License-Identifier: Apache-2.0
// A database in memory that outlives the process: what was durable when the daemon was killed is what the next one finds.
#pragma once

#include <memory>
#include <span>

#include "sim/faults.hpp"
#include "sim/trace.hpp"
#include "store/cached_store.hpp"

namespace banger::simulation {

// What the platter holds.
struct Platter {
  store::Table table;
  bool text = true;      // objects go through their text, as in a database
  bool lost = false;     // the database's directory is gone
  bool full = false;     // every write fails
  bool killed = false;   // the process that had it open is dead: nothing of it counts any more
  std::string adopting;  // the file that says so
  store::Revision floor = 0;
};

std::unique_ptr<store::Store> open_model_store(Platter& platter, Faults& faults, Trace& trace);

}  // namespace banger::simulation
