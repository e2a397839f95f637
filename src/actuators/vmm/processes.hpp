// SPDX-License-Identifier: Apache-2.0
// Processes as /proc shows them. Zombies are not alive and are left out everywhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace banger::actuators::vmm {

struct ProcStat {
  char state = '?';
  std::int64_t ppid = 0;
  std::uint64_t start_time_ticks = 0;  // field 22 of proc(5): clock ticks since boot
  bool operator==(const ProcStat&) const = default;
};

// Of /proc/<pid>/stat. The command name may hold spaces, newlines and parentheses: what counts stands after the last ')'.
std::optional<ProcStat> parse_stat(std::string_view text);

// The arguments of /proc/<pid>/cmdline. A process can write there what it likes, an end without NUL included.
std::vector<std::string> parse_cmdline(std::string_view text);

// True if an argument holds the path whole: followed by its end or a comma (as in "unix:PATH,server=on"). Commas in the path
// stand doubled, as QEMU wants them, or as they are.
bool names_path(const std::vector<std::string>& arguments, std::string_view path);

// exe without the " (deleted)" that the kernel appends once the file was replaced.
std::string_view executable_path(std::string_view exe);

struct Process {
  std::int64_t pid = 0;
  std::int64_t ppid = 0;
  std::uint64_t start_time_ticks = 0;
  std::string exe;
  std::vector<std::string> arguments;
  bool operator==(const Process&) const = default;
};

// One process; nothing if it is gone, a zombie, or a kernel thread.
std::optional<Process> read_process(std::int64_t pid, const std::filesystem::path& proc = "/proc");

using SkipPid = std::function<bool(std::int64_t pid)>;

// Calls visit with the pid and command line (arguments end in NUL) of every process that has one and is not skipped.
Result<void> for_each_cmdline(const std::filesystem::path& proc,
                              const std::function<void(std::int64_t pid, std::string_view cmdline)>& visit,
                              const SkipPid& skip = {});

// Every process whose command line holds the text somewhere: what pgrep -f shows. Reads each command line once, the rest only of
// what matches.
Result<std::vector<Process>> find_processes(std::string_view text, const std::filesystem::path& proc = "/proc",
                                            const SkipPid& skip = {});

}  // namespace banger::actuators::vmm
