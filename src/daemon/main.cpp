// SPDX-License-Identifier: Apache-2.0
// bangerd: keeps this host's microVMs equal to what their manifests say.
#include <fmt/format.h>

#include <cstdio>

#include "base/log.hpp"
#include "base/text.hpp"
#include "daemon/daemon.hpp"
#include "daemon/options.hpp"

int main(int argc, char** argv) {
  const auto options = banger::daemon::parse_options(argc, argv);
  if (!options) return options.error();
  banger::log::set_up(options->log_format, options->log_level);
  if (auto ended = banger::daemon::run(*options); !ended) {
    fmt::print(stderr, "bangerd: {}\n", banger::printable(ended.error().message));
    return 1;
  }
  return 0;
}
