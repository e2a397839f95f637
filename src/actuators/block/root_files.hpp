// SPDX-License-Identifier: Apache-2.0
// The two files that a dm-snapshot root disk is kept in: root.base, a hard link to the image's base file, and root.cow, which
// holds what the guest writes and is preallocated, since a full host disk under a sparse one destroys it.
#pragma once

#include <filesystem>

#include "actuators/jobs.hpp"
#include "actuators/names.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::block {

// Both of them, or neither. Invalid for a file system that cannot preallocate or link, a base that is no ext4 file system, a size
// below its own; Unavailable when the disk is full.
Result<void> make_root_files(const MakeRootDisk& job, const Layout& layout);

// They are there: a disk that became longer is noted, and a lost root.base is linked again from the image it came from. Invalid
// when that is another one.
Result<void> keep_root_files(const MakeRootDisk& job, const Layout& layout);

// The base file is extended by a hole until a disk of this size finds an origin. Safe against others who do the same.
Result<void> extend_base(const std::filesystem::path& base, Bytes disk);

// The size of the ext4 file system in the base, or what the disk had when it was active last, if that is noted and more; in
// whole 4 KiB.
Result<Bytes> least_disk_size(const std::filesystem::path& base, const std::filesystem::path& cow);
void note_disk_size(const std::filesystem::path& cow, Bytes size);  // where the file system takes notes (extended attributes)

// Preallocated to this size, in whole chunks; a full disk leaves it as it was. False: it is as long already.
Result<bool> grow_cow_file(const std::filesystem::path& cow, Bytes size);

Result<Bytes> length_of_file(const std::filesystem::path& path);

}  // namespace banger::actuators::block
