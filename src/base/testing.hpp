// SPDX-License-Identifier: Apache-2.0
// For tests only: a directory that goes with its object, and mounts that nobody else sees.
#pragma once

#include <filesystem>

namespace banger::testing {

// Made below $TMPDIR, else /tmp; removed with all that is in it.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Moves this process into a mount namespace of its own, from which no mount spreads. False, with errno, where that is not
// permitted, or, in a chroot whose root is no mount point, where mounts would spread all the same. Allocates nothing: it may be
// called after fork in a program with threads.
bool enter_private_mounts();

}  // namespace banger::testing
