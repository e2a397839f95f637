// SPDX-License-Identifier: Apache-2.0
// What this folder's tests share: a directory that goes away, and other programs as independent witnesses.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace banger::actuators::guest {

class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct ProgramOutput {
  int exit_code = -1;
  std::string text;  // standard output and error
};

// Runs the program found on PATH (and /usr/sbin) without a shell.
ProgramOutput run_program(const std::vector<std::string>& arguments);

// True, with the reason printed, when the program is not installed.
bool skip_without(const std::string& program);

}  // namespace banger::actuators::guest
