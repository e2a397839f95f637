// SPDX-License-Identifier: Apache-2.0
// The command line: verbs, options, help. Knows CLI11; the verbs do not.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "cli/session.hpp"

namespace banger::cli {

struct Command {
  std::string socket;
  std::string ns;
  bool ns_given = false;
  std::function<Outcome<>(const Session&)> run;  // empty: help was printed
};

// Help goes to standard output; a wrong command line is a failure with kExitUsage.
Outcome<Command> parse_command_line(std::span<const char* const> arguments);

}  // namespace banger::cli
