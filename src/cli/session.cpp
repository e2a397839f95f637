// SPDX-License-Identifier: Apache-2.0
#include "cli/session.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

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

// Not fmt::print(), which throws when nothing can be written: a full disk behind a redirection is no bug of ours.
void print_text(std::string_view text) { (void)std::fwrite(text.data(), 1, text.size(), stdout); }
void print_line(std::string_view line) { print_text(std::string(line) + '\n'); }
void print_error(std::string_view message) {
  flush_output();
  const auto line = fmt::format("bangerctl: {}\n", message);
  (void)std::fwrite(line.data(), 1, line.size(), stderr);
}
void print_warning(std::string_view message) { print_error("warning: " + printable(message)); }
void flush_output() {
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  if (!failed) return;
  const auto line = fmt::format("bangerctl: {}\n", errno_error("writing the output", errno).message);
  (void)std::fwrite(line.data(), 1, line.size(), stderr);
  std::_Exit(kExitFailed);  // a watch would go on for nobody
}

}  // namespace banger::cli
