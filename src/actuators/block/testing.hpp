// SPDX-License-Identifier: Apache-2.0
// For the tests of the folders that make files: a directory of one's own, and file-system checks by programs that share no code
// with us.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/testing.hpp"

namespace banger::actuators::testing {

using Directory = banger::testing::ScratchDirectory;

struct Ran {
  int status = -1;  // exit status; -1: could not be started or was killed
  std::string output;
};
Ran run_program(const std::vector<std::string>& command);
// One test case of this very program, in a process of its own under BANGER_FAILPOINTS; it is to be decorated with
// doctest::skip().
Ran run_child(const std::string& test_case, const std::string& failpoints);
bool is_installed(const std::string& program);  // on PATH or in /sbin and /usr/sbin; says on standard error what it misses

// True when `e2fsck -fn` calls the file system clean, or when there is no e2fsck (which is said once). Prints what it found.
bool is_clean(const std::filesystem::path& image);

// What debugfs prints for a command; "" when there is no debugfs.
std::string debugfs(const std::filesystem::path& image, const std::string& command);

std::string read(const std::filesystem::path& path);
void write(const std::filesystem::path& path, const std::string& content);

}  // namespace banger::actuators::testing
