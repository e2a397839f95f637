// SPDX-License-Identifier: Apache-2.0
// What the host asks of this guest, read from the text that base/guest_config_format.hpp describes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace banger::guest_init {

struct Nic {
  std::string mac;            // lower case
  std::uint32_t address = 0;  // host byte order
  unsigned prefix = 0;
  std::uint32_t gateway = 0;  // 0: none
  bool operator==(const Nic&) const = default;
};

struct Mount {
  std::string disk;
  std::string path;  // absolute, or empty
  bool operator==(const Mount&) const = default;
};

struct File {
  unsigned number = 0;
  unsigned mode = 0;
  std::string path;  // absolute
  bool operator==(const File&) const = default;
};

struct Config {
  std::string hostname;
  std::vector<std::string> nameservers;
  std::vector<Nic> nics;
  std::vector<Mount> mounts;  // the shorter path first, so that one may lie in another
  std::string user;
  std::vector<std::string> keys;
  std::vector<File> files;
  bool operator==(const Config&) const = default;
};

// Nothing and the reason ("line 3: …") for text that is not understood.
std::optional<Config> parse_config(std::string_view text, std::string& reason);

// File names, one a line; names with a "/" are left out.
std::vector<std::string> parse_module_order(std::string_view text);

// The value of init= in a kernel's command line, the last one; empty if there is none or it is not an absolute path.
std::string init_of(std::string_view command_line);

}  // namespace banger::guest_init
