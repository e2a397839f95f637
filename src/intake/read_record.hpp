// SPDX-License-Identifier: Apache-2.0
// What is remembered beside the database of the last time a manifest directory was read whole, so that after a loss a directory
// of which a part is missing is not taken for all of it.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "base/result.hpp"

namespace banger::intake {

struct ReadRecord {
  std::string directory;       // its path, printable
  std::string identity;        // "<device>:<inode>"
  std::set<std::string> held;  // it and those of its sub-directories that held a manifest, relative; "" for itself
  bool operator==(const ReadRecord&) const = default;
};

// The relative directory of a file.
std::string directory_of(const std::string& file);

// Nothing when there is none. Errors: those of read_own_file; Invalid when it is not understood.
Result<std::optional<ReadRecord>> load_read_record(const std::filesystem::path& path);
Result<void> keep_read_record(const std::filesystem::path& path, const ReadRecord& record);

}  // namespace banger::intake
