// SPDX-License-Identifier: Apache-2.0
// Which of a kernel's modules a guest needs before it can mount its disks, and their bytes.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace banger::actuators::image {

// The text of modules.dep, as paths below the modules directory in an order in which they can be loaded: what virtio disks,
// networks and random numbers and ext4 need, with all they depend on. What the kernel has built in is not there and needs no
// loading.
std::vector<std::string> modules_to_load(std::string_view modules_dep);

struct Module {
  std::string name;   // "virtio_blk.ko"
  std::string bytes;  // not compressed
  bool operator==(const Module&) const = default;
};

// In the order of loading. Errors: NotFound without modules.dep or a module that it names; Invalid for one that cannot be
// unpacked.
Result<std::vector<Module>> read_modules(const std::filesystem::path& modules_dir);

// The bytes of a file that may be compressed with gzip, xz or zstd; at most 64 MiB.
Result<std::string> unpacked(std::string_view bytes);

}  // namespace banger::actuators::image
