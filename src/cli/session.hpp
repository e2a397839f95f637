// SPDX-License-Identifier: Apache-2.0
// What every verb gets, and how it ends: exit codes are part of the command's interface (docs/bangerctl.md).
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "client/client.hpp"

namespace banger::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;       // an error from the server, or not found
inline constexpr int kExitUsage = 2;        // the command line is wrong
inline constexpr int kExitUnreachable = 3;  // no daemon answers, or it may not be used
inline constexpr int kExitTimeout = 4;      // what was waited for did not come in time

struct Failure {
  int exit_code = kExitFailed;
  std::string message;  // one sentence: what, where, what to do
};

template <class T = void>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Failure> give_up(Failure failure) { return std::unexpected<Failure>(std::move(failure)); }
inline Failure usage(std::string message) { return {kExitUsage, std::move(message)}; }

// From what the client answered.
Failure failure_of(const Error& error);
// The same about one object: "not found" says how to look for it.
Failure failure_of(const Error& error, const api::ObjectKey& key);

struct Session {
  client::Client client;
  std::string ns = std::string(api::kDefaultNamespace);
  bool ns_given = false;  // by -n
};

// Writes a line to standard output. Text that came from elsewhere must have gone through printable().
void print_line(std::string_view line);
void print_text(std::string_view text);
// Written to standard error: "bangerctl: <message>".
void print_error(std::string_view message);
// The same for what the daemon warns of: "bangerctl: warning: <message>".
void print_warning(std::string_view message);
// After each row of a watch, so that a pipe sees it at once, and at the end. Ends the program when nothing can be written.
void flush_output();

}  // namespace banger::cli
