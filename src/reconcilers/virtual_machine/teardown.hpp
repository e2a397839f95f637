// SPDX-License-Identifier: Apache-2.0
// What was made for a VM goes by a graph: each thing when all that needs it is gone. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {

enum class Thing { Vmm, Jobs, UnsyncedDisks, Taps, RunDirectory, Cgroup, RootDevice, CowLoop, Directory };

struct Edge {
  Thing thing;
  std::vector<Thing> after;  // gone, or on their way in an earlier step, before it can go
};

// In an order in which nothing stands before what it waits for.
std::span<const Edge> teardown_graph();

struct Teardown {
  std::vector<PlannedStep> steps;
  std::vector<std::string> waits;  // one sentence a thing that cannot go yet
};

enum class Purpose { Stop, Delete };  // a stop keeps the directory

Teardown plan_teardown(const Situation& at, Purpose purpose);

}  // namespace banger::reconcilers::virtual_machine
