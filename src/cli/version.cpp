// SPDX-License-Identifier: Apache-2.0
// bangerctl version: of this program, and of the daemon that answers.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/text.hpp"
#include "cli/documents.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {

Outcome<> version(const Session& session) {
  print_line(fmt::format("bangerctl {}", BANGER_VERSION));
  flush_output();
  const auto answer = session.client.get_json("/version");
  if (!answer) return give_up(failure_of(answer.error()));
  const auto own = text_at(*answer, "bangerd");
  print_line(fmt::format("bangerd {} on {}", printable(own.empty() ? text_at(*answer, "gitVersion") : own),
                         printable(session.client.socket_path())));
  return {};
}

}  // namespace banger::cli
