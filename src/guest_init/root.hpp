// SPDX-License-Identifier: Apache-2.0
// The guest's root file system, seen from outside of it: no name in it, however linked, leads out (openat2, RESOLVE_IN_ROOT).
#pragma once

#include <string>
#include <string_view>

#include "guest_init/console.hpp"

namespace banger::guest_init {

// The whole file; empty when it cannot be read.
std::string read_file(const char* path);

class Root {
 public:
  explicit Root(const char* where);  // closed never: it lives as long as the init
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  struct Owner {
    unsigned uid = 0;
    unsigned gid = 0;
  };

  // O_PATH descriptor of the directory, made with what leads to it (0755, root's); -1 and errno. The caller closes it.
  int make_directory(const std::string& path) const;

  // The whole file, following links inside the root; empty when it cannot be read.
  std::string read(const std::string& path) const;

  // Replaces the file, or the link that stands there, unless it is what it should be already. Its directory is made.
  Problem write(const std::string& path, std::string_view content, unsigned mode, Owner owner) const;

  // Makes the directory if it is missing and gives it to the owner with this mode.
  Problem own_directory(const std::string& path, unsigned mode, Owner owner) const;

  bool is_executable(const std::string& path) const;

 private:
  int open(const std::string& path, int flags) const;
  bool is_as_wanted(int directory, const std::string& name, std::string_view content, unsigned mode, Owner owner) const;

  int fd_;
};

}  // namespace banger::guest_init
