// SPDX-License-Identifier: Apache-2.0
// bangerd's command line.
#pragma once

#include <expected>
#include <string>

#include "base/log.hpp"

namespace banger::daemon {

struct Options {
  std::string state_dir = "/var/lib/banger";
  std::string run_dir = "/run/banger";
  std::string socket;     // empty: <run_dir>/bangerd.sock
  std::string manifests;  // empty: no directory is watched
  std::string libexec;    // where banger-shim and banger-init are; empty: beside this program
  std::string qemu;       // empty: qemu-system-x86_64 on PATH
  std::string accelerator = "auto";
  unsigned workers = 16;  // they mostly wait: for disks, and for the kernel to take links away
  log::Format log_format = log::Format::Auto;
  log::Level log_level = log::Level::Info;
};

// The options, or the status the process shall end with (0 after --help and --version, 2 for a wrong command line; what there is
// to say has been printed).
std::expected<Options, int> parse_options(int argc, char** argv);

}  // namespace banger::daemon
