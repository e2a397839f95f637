// SPDX-License-Identifier: Apache-2.0
// bangerd: keeps this host's microVMs equal to what their manifests say.
#include <fmt/format.h>
#include <malloc.h>

#include <cstdio>

#include "base/log.hpp"
#include "base/text.hpp"
#include "daemon/daemon.hpp"
#include "daemon/options.hpp"

int main(int argc, char** argv) {
  // By default each of the worker threads gets an arena that keeps what it once held: 20 MB more at 200 VMs. With fewer than
  // four, what reads the host and what reads the database wait for each other when the daemon starts.
  ::mallopt(M_ARENA_MAX, 4);
  const auto options = banger::daemon::parse_options(argc, argv);
  if (!options) return options.error();
  banger::log::set_up(options->log_format, options->log_level);
  if (auto ended = banger::daemon::run(*options); !ended) {
    fmt::print(stderr, "bangerd: {}\n", banger::printable(ended.error().message));
    // As sysexits.h: another try cannot help, something must be set or installed otherwise (a newer database, a bad path).
    constexpr int kConfigurationError = 78;
    return ended.error().code == banger::ErrorCode::Invalid ? kConfigurationError : 1;
  }
  return 0;
}
