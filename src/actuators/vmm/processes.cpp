// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/processes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <memory>

#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {
namespace {

constexpr std::size_t kCmdlineLimit = 1U << 20U;

template <class Number>
bool parse_number(std::string_view text, Number& out) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
  return result.ec == std::errc{} && result.ptr == text.data() + text.size();
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// Cheaper than read_file: this runs for every process of the host. Appends nothing when the process is gone.
void read_into(int directory, const char* name, std::string& out) {
  out.clear();
  const UniqueFd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return;
  std::array<char, 4096> buffer;
  while (out.size() < kCmdlineLimit) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    out.append(buffer.data(), static_cast<std::size_t>(got));
    if (static_cast<std::size_t>(got) < buffer.size()) return;  // files of /proc come whole
  }
}

std::string read_exe(int directory) {
  std::array<char, PATH_MAX> target{};
  const auto length = ::readlinkat(directory, "exe", target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}

std::optional<Process> read_at(int directory, std::int64_t pid, std::string_view cmdline) {
  std::string text;
  read_into(directory, "stat", text);
  const auto stat = parse_stat(text);
  if (!stat || stat->state == 'Z' || stat->state == 'X') return std::nullopt;
  return Process{pid, stat->ppid, stat->start_time_ticks, read_exe(directory), parse_cmdline(cmdline)};
}

std::string double_commas(std::string_view path) {
  std::string out;
  for (const char c : path) out.append(c == ',' ? 2 : 1, c);
  return out;
}

bool holds_whole(std::string_view argument, std::string_view path) {
  for (auto at = argument.find(path); at != std::string_view::npos; at = argument.find(path, at + 1)) {
    const auto end = at + path.size();
    if (end == argument.size() || argument[end] == ',') return true;
  }
  return false;
}

}  // namespace

std::optional<ProcStat> parse_stat(std::string_view text) {
  const auto close = text.rfind(')');
  if (close == std::string_view::npos || close + 2 >= text.size()) return std::nullopt;
  auto rest = text.substr(close + 2);
  while (rest.ends_with('\n')) rest.remove_suffix(1);
  const auto fields = split(rest, ' ');  // fields[0] is field 3
  ProcStat out;
  if (fields.size() < 20 || fields[0].size() != 1) return std::nullopt;
  out.state = fields[0][0];
  if (!parse_number(fields[1], out.ppid) || !parse_number(fields[19], out.start_time_ticks)) return std::nullopt;
  return out;
}

std::vector<std::string> parse_cmdline(std::string_view text) {
  std::vector<std::string> out;
  if (text.ends_with('\0')) text.remove_suffix(1);
  if (text.empty()) return out;
  for (const auto word : split(text, '\0')) out.emplace_back(word);
  return out;
}

bool names_path(const std::vector<std::string>& arguments, std::string_view path) {
  if (path.empty()) return false;
  const auto doubled = double_commas(path);
  return std::ranges::any_of(arguments, [&](const std::string& argument) {
    return holds_whole(argument, path) || (doubled != path && holds_whole(argument, doubled));
  });
}

std::string_view executable_path(std::string_view exe) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (exe.ends_with(kDeleted)) exe.remove_suffix(kDeleted.size());
  return exe;
}

std::optional<Process> read_process(std::int64_t pid, const std::filesystem::path& proc) {
  const UniqueFd directory(::open((proc / std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return std::nullopt;
  std::string cmdline;
  read_into(directory.get(), "cmdline", cmdline);
  return read_at(directory.get(), pid, cmdline);
}

Result<void> for_each_cmdline(const std::filesystem::path& proc,
                              const std::function<void(std::int64_t pid, std::string_view cmdline)>& visit, const SkipPid& skip) {
  const std::unique_ptr<DIR, CloseDir> dir(::opendir(proc.c_str()));
  if (!dir) return fail(errno_error(fmt::format("reading {}", proc.native()), errno));
  std::string cmdline;
  std::string name;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::int64_t pid = 0;
    if (!parse_number(std::string_view(entry->d_name), pid) || (skip && skip(pid))) continue;
    name.assign(entry->d_name).append("/cmdline");
    read_into(::dirfd(dir.get()), name.c_str(), cmdline);
    if (!cmdline.empty()) visit(pid, cmdline);
  }
  return {};
}

Result<std::vector<Process>> find_processes(std::string_view text, const std::filesystem::path& proc, const SkipPid& skip) {
  std::vector<Process> out;
  const auto visit = [&](std::int64_t pid, std::string_view cmdline) {
    if (cmdline.find(text) == std::string_view::npos) return;
    const UniqueFd directory(::open((proc / std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return;
    if (auto process = read_at(directory.get(), pid, cmdline)) out.push_back(*std::move(process));
  };
  BGR_CHECK(for_each_cmdline(proc, visit, skip));
  return out;
}

}  // namespace banger::actuators::vmm
