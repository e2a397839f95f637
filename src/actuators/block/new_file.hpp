// SPDX-License-Identifier: Apache-2.0
// A file that appears under its name whole and synced, or not at all.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::block {

// Written under ".<name>.tmp" beside its place. What a crash left there is overwritten by the next try; when nobody commits, the
// temporary file goes with this object. Never two at once for one path.
class NewFile {
 public:
  static Result<NewFile> create(const std::filesystem::path& path);

  NewFile(NewFile&&) noexcept = default;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::filesystem::path& temporary_path() const { return temporary_; }

  // mode, fsync, rename to the final name, fsync of the directory.
  Result<void> commit(const std::filesystem::path& path, unsigned mode);
  // mode and rename: whole for whoever opens it, but after a crash of the host it may be anything.
  Result<void> commit_unsynced(const std::filesystem::path& path, unsigned mode);

 private:
  NewFile(UniqueFd fd, std::filesystem::path temporary) : fd_(std::move(fd)), temporary_(std::move(temporary)) {}

  UniqueFd fd_;
  std::filesystem::path temporary_;
};

}  // namespace banger::actuators::block
