// SPDX-License-Identifier: Apache-2.0
// The search: so many schedules from a seed on, on every core; or one of them, told line by line.   See tools/sim.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <thread>

#include "base/log.hpp"
#include "sim/search.hpp"

namespace banger::simulation {
namespace {

constexpr std::size_t kMostWorkers = 64;
constexpr std::uint64_t kTwice = 97;  // one in so many schedules runs twice, and both must be the same to the last byte

struct Arguments {
  std::uint64_t schedules = 0;  // 0: one seed
  std::uint64_t seed = 1;
  std::uint64_t rocksdb = 0;  // so many of the schedules
  std::uint64_t stop_after = 5;
  std::size_t jobs = std::max(1U, std::thread::hardware_concurrency());
  bool on_rocksdb = false;
  bool coverage = false;
  std::vector<std::size_t> ops;
};

// Shared between the workers.
struct Board {
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> done_on_rocksdb{0};
  std::atomic<std::uint64_t> twice{0};
  std::atomic<std::uint64_t> steps{0};
  std::atomic<std::uint64_t> passes{0};
  std::atomic<std::uint64_t> faults{0};
  std::atomic<std::uint64_t> violations{0};
  std::atomic<std::uint64_t> virtual_ms{0};
  std::array<std::atomic<std::uint64_t>, kMostWorkers> current{};  // seeds under way
  std::array<std::array<std::atomic<std::uint64_t>, kFaults>, kPlaces> fault_table{};
  std::array<std::atomic<std::uint64_t>, kPlaces> met{};
};

Board& shared_board() {
  void* memory = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return *new (memory) Board();
}

void say(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void add_coverage(Board& board, const Coverage& coverage) {
  for (std::size_t place = 0; place < kPlaces; ++place) {
    board.met[place] += coverage.met[place];
    for (std::size_t fault = 0; fault < kFaults; ++fault) board.fault_table[place][fault] += coverage.faults[place][fault];
  }
}

Schedule schedule_of(const Arguments& arguments, std::uint64_t index) {
  auto schedule = draw_schedule(arguments.seed + index);
  const auto every = arguments.rocksdb == 0 ? 0 : std::max<std::uint64_t>(arguments.schedules / arguments.rocksdb, 1);
  schedule.rocksdb = arguments.on_rocksdb || (every > 0 && index % every == 0);
  return schedule;
}

// The same seed, the same run: nothing of the machine we run on got in.
void run_again(const Schedule& schedule, const Report& first, Report& told) {
  Coverage unused;
  const auto second = run_schedule(schedule, false, unused);
  if (second.hash != first.hash)
    told.violation = fmt::format("I14: two runs of one seed differ ({:x}, {:x})", first.hash, second.hash);
}

void work(Board& board, const Arguments& arguments, std::size_t worker) {
  Coverage coverage;
  for (;;) {
    const auto index = board.next++;
    if (index >= arguments.schedules || board.violations >= arguments.stop_after) break;
    const auto schedule = schedule_of(arguments, index);
    board.current[worker] = schedule.seed;
    auto report = run_schedule(schedule, false, coverage);
    if (!report.violation && !schedule.rocksdb && index % kTwice == 0) {
      run_again(schedule, report, report);
      ++board.twice;
    }
    ++board.done;
    board.done_on_rocksdb += schedule.rocksdb ? 1 : 0;
    board.passes += report.passes;
    board.faults += report.faults;
    board.virtual_ms += static_cast<std::uint64_t>(report.virtual_time.count());
    if (!report.violation) continue;
    ++board.violations;
    say(story_of(schedule, report));
  }
  add_coverage(board, coverage);
  for (const auto calls : coverage.met) board.steps += calls;
}

// A worker that ends by a signal was killed by what it ran.
void watch(Board& board, const std::vector<pid_t>& workers) {
  for (std::size_t i = 0; i < workers.size(); ++i) {
    int status = 0;
    while (::waitpid(workers[i], &status, 0) < 0) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    ++board.violations;
    say(fmt::format("violation: Crash: a worker ended with {}\n  reproduce: tools/sim --seed {}\n",
                    WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "an exception", board.current[i].load()));
  }
}

void say_coverage(const Board& board) {
  std::size_t met = 0;
  std::size_t possible = 0;
  say(fmt::format("{:<24}{:>12}  faults met, by kind: kill and errno, before/after\n", "place", "calls"));
  for (std::size_t place = 0; place < kPlaces; ++place) {
    std::string line = fmt::format("{:<24}{:>12} ", name_of_place(place), board.met[place].load());
    const bool read = place > static_cast<std::size_t>(Place::StoreWrite);
    for (std::size_t fault = 0; fault < kFaults; fault += 2) {
      const auto before = board.fault_table[place][fault].load();
      const auto after = board.fault_table[place][fault + 1].load();
      possible += read ? 1 : 2;
      met += (before > 0 ? 1 : 0) + (!read && after > 0 ? 1 : 0);
      line += read ? fmt::format(" {}", before) : fmt::format(" {}/{}", before, after);
    }
    say(line + "\n");
  }
  say(fmt::format("coverage: {} of {} pairs of place and fault were met\n", met, possible));
}

int search(const Arguments& arguments) {
  auto& board = shared_board();
  const auto started = std::chrono::steady_clock::now();
  std::vector<pid_t> workers;
  for (std::size_t i = 0; i < std::min(arguments.jobs, kMostWorkers); ++i) {
    const auto pid = ::fork();
    if (pid == 0) {
      work(board, arguments, i);
      std::fflush(stdout);
      ::_exit(0);
    }
    if (pid > 0) workers.push_back(pid);
  }
  watch(board, workers);
  if (arguments.coverage) say_coverage(board);
  const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const auto done = board.done.load();
  say(
      fmt::format("{:.1f} s on {} cores: {:.0f} schedules a second, {:.2f} ms of a core each; {} on RocksDB, {} run twice, {} "
                  "passes, {:.0f} virtual days\n",
                  took, workers.size(), static_cast<double>(done) / took,
                  took * 1000 * static_cast<double>(workers.size()) / static_cast<double>(std::max<std::uint64_t>(done, 1)),
                  board.done_on_rocksdb.load(), board.twice.load(), board.passes.load(),
                  static_cast<double>(board.virtual_ms.load()) / 86'400'000.0));
  say(fmt::format("sim: schedules={} steps={} faults={} violations={}\n", done, board.steps.load(), board.faults.load(),
                  board.violations.load()));
  return board.violations > 0 || done < arguments.schedules ? 1 : 0;
}

int tell(const Arguments& arguments) {
  auto schedule = schedule_of(arguments, 0);
  if (!arguments.ops.empty()) keep_ops(schedule, arguments.ops);
  say(fmt::format("seed {}: {} VMs, device-mapper {}, {}\n", schedule.seed, schedule.vms,
                  schedule.device_mapper ? "there" : "absent", schedule.rocksdb ? "RocksDB" : "memory store"));
  for (const auto& op : schedule.ops) say("  " + describe(op) + "\n");
  Coverage coverage;
  const auto report = run_schedule(schedule, true, coverage);
  for (const auto& line : report.trace) say(line + "\n");
  say(fmt::format("trace hash {:016x}, {} passes, {:.1f} virtual s\n", report.hash, report.passes,
                  static_cast<double>(report.virtual_time.count()) / 1000));
  say(report.violation ? "violation: " + *report.violation + "\n" : "no rule is broken\n");
  return report.violation ? 1 : 0;
}

std::optional<std::uint64_t> number(const char* text) {
  std::uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  return error == std::errc() && at == end ? std::optional(value) : std::nullopt;
}

std::vector<std::size_t> numbers(std::string_view text) {
  std::vector<std::size_t> found;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    if (const auto value = number(std::string(text.substr(0, comma)).c_str())) found.push_back(*value);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return found;
}

std::optional<Arguments> parse(int count, char** words) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--on-rocksdb" || word == "--coverage") {
      (word == "--coverage" ? arguments.coverage : arguments.on_rocksdb) = true;
      continue;
    }
    if (i + 1 == count) return std::nullopt;
    const char* next = words[++i];
    if (word == "--ops") {
      arguments.ops = numbers(next);
      continue;
    }
    const auto value = number(next);
    if (!value) return std::nullopt;
    if (word == "--schedules") {
      arguments.schedules = *value;
    } else if (word == "--seed") {
      arguments.seed = *value;
    } else if (word == "--rocksdb") {
      arguments.rocksdb = *value;
    } else if (word == "--jobs") {
      arguments.jobs = *value;
    } else if (word == "--stop-after") {
      arguments.stop_after = *value;
    } else {
      return std::nullopt;
    }
  }
  return arguments;
}

}  // namespace
}  // namespace banger::simulation

int main(int count, char** words) {
  using namespace banger::simulation;
  const auto arguments = parse(count, words);
  if (!arguments) {
    say("sim [--schedules N] [--seed S] [--rocksdb M] [--jobs J] [--stop-after V] [--coverage]\n"
        "sim --seed S [--on-rocksdb] [--ops 0,3,7]   runs that one and tells all\n");
    return 2;
  }
  // What the daemon logs is no part of a run; standard output has all there is to say.
  banger::log::set_up(banger::log::Format::Text, banger::log::Level::Error);
  if (std::freopen("/dev/null", "w", stderr) == nullptr) return 2;
  return arguments->schedules == 0 ? tell(*arguments) : search(*arguments);
}
