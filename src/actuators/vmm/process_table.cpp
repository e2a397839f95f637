// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/process_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace banger::actuators::vmm {
namespace {

constexpr std::string_view kSocket = "/qmp.sock";
constexpr int kShare = 10;  // of the time between two looks, in times of one look

}  // namespace

std::vector<std::string> ids_in(std::string_view cmdline) {
  std::vector<std::string> ids;
  for (auto at = cmdline.find(kSocket); at != std::string_view::npos; at = cmdline.find(kSocket, at + 1)) {
    const auto before = cmdline.substr(0, at);
    const auto slash = before.rfind('/');
    if (slash == std::string_view::npos) continue;
    auto id = std::string(before.substr(slash + 1));
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(std::move(id));
  }
  return ids;
}

Result<std::vector<Process>> ProcessTable::naming(const std::string& short_id) {
  std::vector<std::int64_t> pids;
  {
    const std::lock_guard lock(mutex_);  // held while looking: who asks meanwhile waits and shares
    if (Clock::now() >= good_until_) {
      const auto begun = Clock::now();
      std::unordered_multimap<std::string, std::int64_t> found;
      BGR_CHECK(for_each_cmdline(proc_, [&](std::int64_t pid, std::string_view cmdline) {
        for (auto& id : ids_in(cmdline)) found.emplace(std::move(id), pid);
      }));
      pids_ = std::move(found);
      good_until_ = Clock::now() + kShare * (Clock::now() - begun);
    }
    const auto [first, last] = pids_.equal_range(short_id);
    std::transform(first, last, std::back_inserter(pids), [](const auto& entry) { return entry.second; });
  }
  std::ranges::sort(pids);
  std::vector<Process> processes;
  const auto text = fmt::format("/{}{}", short_id, kSocket);
  for (const auto pid : pids) {
    auto process = read_process(pid, proc_);
    const auto names = [&](const std::string& argument) { return argument.find(text) != std::string::npos; };
    if (process && std::ranges::any_of(process->arguments, names)) processes.push_back(*std::move(process));
  }
  return processes;
}

}  // namespace banger::actuators::vmm
