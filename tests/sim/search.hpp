// SPDX-License-Identifier: Apache-2.0
// Many runs: one after another here, side by side in main. A run that breaks a rule is cut down to what it needs for that.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/schedule.hpp"
#include "sim/simulation.hpp"

namespace banger::simulation {

// A fresh directory for the database of this run where it needs one; gone afterwards.
Report run_schedule(const Schedule& schedule, bool trace, Coverage& coverage);

// "I7" of "I7: …".
std::string rule_of(const Report& report);

// Without the operations that the same rule is broken without.
Schedule shrink(Schedule schedule, const std::string& rule, std::size_t most_runs);

// Keeps the operations of these numbers.
void keep_ops(Schedule& schedule, const std::vector<std::size_t>& numbers);
std::string numbers_of(const Schedule& schedule);  // "0,3,7"

// One line that reproduces it, then the short schedule and the end of its trace.
std::string story_of(const Schedule& schedule, const Report& first);

}  // namespace banger::simulation
