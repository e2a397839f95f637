// SPDX-License-Identifier: Apache-2.0
// Makes the base file system of an image: from a tar file, written with libext2fs straight from the archive's entries, or from a
// file that is an ext4 file system already.
#pragma once

#include <stop_token>
#include <string>

#include "actuators/built_image.hpp"
#include "actuators/jobs.hpp"
#include "actuators/names.hpp"
#include "base/result.hpp"

namespace banger::actuators::image {

// Answers a BuiltImage as text. The file is <image_dir>/base-<64 hex of the source's sha256>.ext4, mode 0444; the same source,
// size and image uid give the same bytes. A file that is there already with the right size is kept.
// Errors: NotFound and Denied for the source; Invalid for a source that is refused or whose digest is not spec.digest (nothing is
// kept then); Unavailable when the host's disk is full or stop was requested.
Result<std::string> run(const BuildImage& job, const Layout& layout, const std::stop_token& stop);

}  // namespace banger::actuators::image
