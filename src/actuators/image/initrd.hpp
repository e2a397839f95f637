// SPDX-License-Identifier: Apache-2.0
// The initrd of a kernel: banger-init and the modules that a guest needs to find its disks.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>

#include "actuators/jobs.hpp"
#include "actuators/names.hpp"
#include "base/result.hpp"

namespace banger::actuators::image {

// Where banger-init is: $BANGER_LIBEXEC, beside the running program, ../libexec/banger/ of it, or where the build puts it.
// NotFound says where it was looked for.
Result<std::filesystem::path> find_init();

// Answers the path: <kernel_dir>/initrd-<16 hex of what is in it>. The same modules and init give the same file, which is not
// written again. Errors: NotFound, Denied or Invalid for the modules or the init; Unavailable when the disk is full.
Result<std::string> run(const BuildInitrd& job, const Layout& layout, const std::filesystem::path& init,
                        const std::stop_token& stop);

}  // namespace banger::actuators::image
