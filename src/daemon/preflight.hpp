// SPDX-License-Identifier: Apache-2.0
// What must hold before the daemon touches anything: privileges, directories, one daemon a state directory, its helper programs.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "daemon/options.hpp"

namespace banger::daemon {

struct Grounds {
  UniqueFd lock;          // held for the life of the process
  std::string state_dir;  // without links in it
  std::string shim_path;
  std::string init_path;
};

// Errors are sentences for the person who started the daemon; nothing has been changed but the directories that were made.
Result<Grounds> prepare(const Options& options);

}  // namespace banger::daemon
