// SPDX-License-Identifier: Apache-2.0
// For tests: bangerctl as a process, and what it said.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace banger::cli {

struct Said {
  int exit_code = -1;  // -signal when it was killed
  std::string out;
  std::string err;
};

struct Call {
  std::vector<std::string> arguments;
  std::string input;                     // standard input
  std::vector<std::string> environment;  // NAME=value; nothing is inherited but PATH
  std::string stop_at;                   // kill it once its output holds this (for -w and -f)
  std::string output = {};               // a file that takes its standard output instead
};

// Runs the program; it is killed after 30 seconds.
Said run_program(const std::string& program, const Call& call);

// Compares with testdata/cli/<name>, or writes it when BANGER_UPDATE_GOLDENS is set. Empty: equal; else the first difference.
std::string golden_difference(std::string_view name, std::string_view text);

}  // namespace banger::cli
