// SPDX-License-Identifier: Apache-2.0
// bangerctl logs: what the guest wrote to its serial port.
#include <fmt/format.h>

#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/line_cleaner.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {

Outcome<> logs(const LogsOptions& options, const Session& session) {
  const auto name = vm_name(options.vm);
  if (!name) return give_up(name.error());
  const api::ObjectKey key{api::Kind::VirtualMachine, session.ns, *name};
  auto target = client::object_path(key) + "/log?";
  if (options.follow) target += "follow=true&";
  if (options.previous) target += "previous=true&";
  if (options.tail) target += fmt::format("tailLines={}&", *options.tail);
  target.pop_back();
  LineCleaner cleaner;
  const auto ended = session.client.read_text(target,
                                              [&](std::string_view bytes) {
                                                print_text(cleaner.clean(bytes));
                                                flush_output();
                                                return true;
                                              },
                                              {});
  print_text(cleaner.finish());
  if (ended) return {};
  // "no previous part" is a NotFound too, and says more than that the VM is missing.
  if (ended.error().code == ErrorCode::NotFound && ended.error().message.find("previous part") != std::string::npos) {
    return give_up(failure_of(ended.error()));
  }
  return give_up(failure_of(ended.error(), key));
}

}  // namespace banger::cli
