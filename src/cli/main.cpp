// SPDX-License-Identifier: Apache-2.0
// bangerctl: the command line client of bangerd.
#include <span>

#include "cli/command_line.hpp"
#include "cli/session.hpp"

int main(int argc, char** argv) {
  using namespace banger;
  const auto command = cli::parse_command_line(std::span<const char* const>(argv, static_cast<std::size_t>(argc)));
  if (!command) {
    cli::print_error(command.error().message);
    return command.error().exit_code;
  }
  if (!command->run) return cli::kExitOk;
  const cli::Session session{
      .client = client::Client(command->socket, cli::print_warning), .ns = command->ns, .ns_given = command->ns_given};
  const auto done = command->run(session);
  cli::flush_output();
  if (done) return cli::kExitOk;
  if (!done.error().message.empty()) cli::print_error(done.error().message);
  return done.error().exit_code;
}
