// SPDX-License-Identifier: Apache-2.0
#include "base/testing.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/unique_fd.hpp"

namespace banger::testing {
namespace {

// Optional fields of proc_pid_mountinfo(5): a mount that passes on what is mounted below it has "shared:N".
bool shares_a_mount() {
  constexpr std::string_view kShared = " shared:";
  const UniqueFd file(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return true;
  std::array<char, 4096> buffer;
  std::size_t matched = 0;
  for (ssize_t got = 0; (got = ::read(file.get(), buffer.data(), buffer.size())) > 0;) {
    for (const char c : std::string_view(buffer.data(), static_cast<std::size_t>(got))) {
      matched = c == kShared[matched] ? matched + 1 : c == ' ' ? 1 : 0;
      if (matched == kShared.size()) return true;
    }
  }
  return false;
}

}  // namespace

ScratchDirectory::ScratchDirectory() {
  auto name = (std::filesystem::temp_directory_path() / "banger-test-XXXXXX").native();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = std::move(name);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

bool enter_private_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) return true;
  return errno == EINVAL && !shares_a_mount();
}

}  // namespace banger::testing
