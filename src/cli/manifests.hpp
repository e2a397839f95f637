// SPDX-License-Identifier: Apache-2.0
// -f FILE | DIRECTORY | -: manifests from the local machine.
#pragma once

#include <string>
#include <vector>

#include "api/codec.hpp"
#include "cli/session.hpp"

namespace banger::cli {

struct Manifest {
  std::string file;
  api::ManifestDocument document;
};

// Every document of every file, in the order in which they are applied (networks before machines). A refused document fails the
// whole call, with a line for each thing that is wrong; so do two documents that name one object. Documents without a namespace
// get the session's.
Outcome<std::vector<Manifest>> load_manifests(const std::vector<std::string>& files, const Session& session);

}  // namespace banger::cli
