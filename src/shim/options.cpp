// SPDX-License-Identifier: Apache-2.0
#include "shim/options.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace banger::shim {
namespace {

bool parse_number(const char* text, std::uint64_t& out) {
  char* end = nullptr;
  errno = 0;
  out = std::strtoull(text, &end, 10);
  return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

const char* take(const char* option, const char* value, Options& options) {
  if (std::strcmp(option, "--serial-max") == 0) {
    return parse_number(value, options.serial_max) && options.serial_max >= 4096
               ? nullptr
               : "--serial-max: expected a number of bytes, at least 4096";
  }
  if (value[0] != '/') return "file names must be absolute";
  if (std::strcmp(option, "--exit-record") == 0) {
    options.exit_record = value;
  } else if (std::strcmp(option, "--serial-log") == 0) {
    options.serial_log = value;
  } else if (std::strcmp(option, "--vmm-log") == 0) {
    options.vmm_log = value;
  } else if (std::strcmp(option, "--lock") == 0) {
    if (options.lock_count == options.locks.size()) return "too many --lock options";
    options.locks[options.lock_count++] = value;
  } else {
    return "unknown option";
  }
  return nullptr;
}

}  // namespace

const char* parse_options(int argc, char** argv, Options& options) {
  int i = 1;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; i += 2) {
    if (i + 1 >= argc) return "an option without its value";
    if (const char* problem = take(argv[i], argv[i + 1], options)) return problem;
  }
  if (i + 1 >= argc) return "expected -- and the VMM's command line";
  options.vmm = argv + i + 1;
  if (options.exit_record == nullptr || options.serial_log == nullptr || options.vmm_log == nullptr) {
    return "--exit-record, --serial-log and --vmm-log are needed";
  }
  return nullptr;
}

}  // namespace banger::shim
