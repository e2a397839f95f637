// SPDX-License-Identifier: Apache-2.0
#include "cli/session.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "base/text.hpp"

namespace banger::cli {

Failure failure_of(const Error& error) {
  return {client::is_unreachable(error) ? kExitUnreachable : kExitFailed, printable(error.message)};
}

Failure failure_of(const Error& error, const api::ObjectKey& key) {
  if (error.code != ErrorCode::NotFound || client::is_unreachable(error)) return failure_of(error);
  const auto& kind = api::info(key.kind);
  if (!kind.namespaced) {
    return {kExitFailed, fmt::format("{} \"{}\" not found; see what there is with: bangerctl get {}", kind.singular,
                                     printable(key.name), kind.plural)};
  }
  return {kExitFailed, fmt::format("{} \"{}\" not found in namespace \"{}\"; see what there is with: bangerctl get {} -A",
                                   kind.singular, printable(key.name), printable(key.ns), kind.plural)};
}

void print_line(std::string_view line) { fmt::print(stdout, "{}\n", line); }
void print_error(std::string_view message) {
  std::fflush(stdout);
  fmt::print(stderr, "bangerctl: {}\n", message);
}
void flush_output() { std::fflush(stdout); }

}  // namespace banger::cli
