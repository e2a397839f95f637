// SPDX-License-Identifier: Apache-2.0
#include "sim/search.hpp"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace banger::simulation {
namespace {

constexpr std::size_t kLastLines = 60;
constexpr std::chrono::seconds kShrinkTime{20};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "banger-sim-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no directory can be made: " + name);
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

Report run_schedule(const Schedule& schedule, bool trace, Coverage& coverage) {
  std::optional<TemporaryDirectory> directory;
  if (schedule.rocksdb) directory.emplace();
  return Simulation(schedule, {.trace = trace, .directory = directory ? directory->path() : ""}, coverage).run();
}

std::string rule_of(const Report& report) {
  return report.violation ? report.violation->substr(0, report.violation->find(':')) : std::string();
}

// Halves, quarters, … single operations, until none of them can go.
Schedule shrink(Schedule schedule, const std::string& rule, std::size_t most_runs) {
  Coverage unused;
  std::size_t runs = 0;
  const auto end = std::chrono::steady_clock::now() + kShrinkTime;
  const auto may_go_on = [&] { return runs < most_runs && std::chrono::steady_clock::now() < end; };
  for (std::size_t size = std::max<std::size_t>(schedule.ops.size() / 2, 1); may_go_on();) {
    bool any = false;
    for (std::size_t from = 0; from < schedule.ops.size() && may_go_on();) {
      auto shorter = schedule;
      const auto to = std::min(from + size, shorter.ops.size());
      shorter.ops.erase(shorter.ops.begin() + static_cast<std::ptrdiff_t>(from),
                        shorter.ops.begin() + static_cast<std::ptrdiff_t>(to));
      ++runs;
      if (rule_of(run_schedule(shorter, false, unused)) == rule) {
        schedule = std::move(shorter);
        any = true;
      } else {
        from += size;
      }
    }
    if (size == 1 && !any) break;
    size = std::max<std::size_t>(size / 2, 1);
  }
  return schedule;
}

void keep_ops(Schedule& schedule, const std::vector<std::size_t>& numbers) {
  std::erase_if(schedule.ops, [&](const Op& op) { return std::ranges::find(numbers, op.number) == numbers.end(); });
}

std::string numbers_of(const Schedule& schedule) {
  std::string text;
  for (const auto& op : schedule.ops) text += fmt::format("{}{}", text.empty() ? "" : ",", op.number);
  return text;
}

std::string story_of(const Schedule& schedule, const Report& first) {
  const auto shorter = shrink(schedule, rule_of(first), 400);
  Coverage unused;
  const auto report = run_schedule(shorter, true, unused);
  const auto* rocksdb = schedule.rocksdb ? " --on-rocksdb" : "";
  std::string text = fmt::format("violation: {}\n  reproduce: tools/sim --seed {}{}\n", *first.violation, schedule.seed, rocksdb);
  text += fmt::format("  shortest:  tools/sim --seed {}{} --ops {}\n  it says:   {}\n", schedule.seed, rocksdb,
                      numbers_of(shorter), report.violation.value_or("nothing any more"));
  for (const auto& op : shorter.ops) text += "    " + describe(op) + "\n";
  const auto skipped = report.trace.size() > kLastLines ? report.trace.size() - kLastLines : 0;
  for (std::size_t i = skipped; i < report.trace.size(); ++i) text += "  | " + report.trace[i] + "\n";
  return text;
}

}  // namespace banger::simulation
