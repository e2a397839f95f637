// SPDX-License-Identifier: Apache-2.0
#include "sim/host.hpp"

#include <algorithm>
#include <cerrno>

namespace banger::simulation {
namespace {

using actuators::Applied;
using actuators::Step;
using std::chrono::milliseconds;

bool needs_disk(const Step& step) {
  return std::holds_alternative<actuators::MakeVmDirectory>(step) || std::holds_alternative<actuators::WriteSidecar>(step) ||
         std::holds_alternative<actuators::WriteVmInitrd>(step) || std::holds_alternative<actuators::GrowRootCow>(step) ||
         std::holds_alternative<actuators::WriteRecord>(step);
}

const char* word_of(const Result<Applied>& result) {
  if (!result) return "failed";
  return *result == Applied::Changed ? "changed" : "unchanged";
}

}  // namespace

void FaultyHost::die(std::string_view where) {
  killed_ = true;
  throw actuators::sim::SimCrash{std::string(where)};
}

void FaultyHost::kill_daemon() {
  killed_ = true;
  trace_.line("the daemon is killed");
}

void FaultyHost::bury() {
  killed_ = false;
  callback_ = nullptr;
  hints_.clear();
  host_.restart_daemon();
  for (const auto& [due, name] : std::exchange(jobs_, {})) host_.release_jobs(name);
}

std::optional<Error> FaultyHost::fault_of_read(Place place) {
  if (killed_) die("a read");
  const auto fault = faults_.at(static_cast<std::size_t>(place));
  if (!fault) return std::nullopt;
  trace_.line("{}: {}", name_of_place(static_cast<std::size_t>(place)), describe(*fault));
  if (!fault->sys_errno) die("a read");
  return error_of(*fault);
}

Result<actuators::VmView> FaultyHost::observe_vm(const std::string& uid, std::size_t nic_count) {
  if (auto error = fault_of_read(Place::ObserveVm)) return fail(*std::move(error));
  auto view = host_.observe_vm(uid, nic_count);
  if (view) watcher_.observed(*view);
  return view;
}
Result<actuators::NetworkView> FaultyHost::observe_network(const actuators::NetworkQuery& query) {
  if (auto error = fault_of_read(Place::Observe)) return fail(*std::move(error));
  return host_.observe_network(query);
}
Result<actuators::ImageView> FaultyHost::observe_image(const actuators::ImageQuery& query) {
  if (auto error = fault_of_read(Place::Observe)) return fail(*std::move(error));
  return host_.observe_image(query);
}
Result<actuators::KernelView> FaultyHost::observe_kernel(const actuators::KernelQuery& query) {
  if (auto error = fault_of_read(Place::Observe)) return fail(*std::move(error));
  return host_.observe_kernel(query);
}
Result<actuators::HostView> FaultyHost::observe_all(const std::vector<actuators::NetworkQuery>& networks) {
  if (auto error = fault_of_read(Place::ObserveAll)) return fail(*std::move(error));
  return host_.observe_all(networks);
}
Result<std::vector<actuators::StoredRecord>> FaultyHost::records() {
  if (auto error = fault_of_read(Place::Inventory)) return fail(*std::move(error));
  return host_.records();
}
Result<std::vector<actuators::HostObject>> FaultyHost::inventory() {
  if (auto error = fault_of_read(Place::Inventory)) return fail(*std::move(error));
  return host_.inventory();
}

Result<Applied> FaultyHost::apply(const Step& step) {
  watcher_.in_pass();
  if (killed_) die("a step");
  const auto place = place_of(step);
  const auto fault = faults_.at(place);
  trace_.mix(place);
  if (fault && !fault->after) {
    trace_.line("  {}: {}", trace_.keeps() ? actuators::describe(step) : std::string(), describe(*fault));
    if (!fault->sys_errno) die(name_of_place(place));
    return fail(error_of(*fault));
  }
  watcher_.before(step);
  auto result = carry_out(step);
  trace_.mix(result ? static_cast<std::uint64_t>(*result) : 2 + static_cast<std::uint64_t>(result.error().code));
  if (trace_.keeps()) {
    trace_.line("  {}: {}{}", actuators::describe(step), word_of(result), result ? "" : ": " + result.error().message);
  }
  watcher_.after(step, result);
  clock_.advance(milliseconds{result && *result == Applied::Changed ? 1 : 0});
  if (!fault || !result) return result;
  trace_.line("  {}", describe(*fault));
  if (!fault->sys_errno) die(name_of_place(place));
  watcher_.told_otherwise(step);
  return fail(error_of(*fault));
}

Result<Applied> FaultyHost::carry_out(const Step& step) {
  if (disk_full_ && needs_disk(step)) return fail(errno_error("writing a file", ENOSPC));
  start_slowly(step);
  return host_.apply(step);
}

void FaultyHost::set_slow_jobs(std::uint32_t longest_ms) {
  longest_job_ms_ = longest_ms;
  if (longest_ms > 0) return;
  for (const auto& [due, name] : jobs_) host_.release_jobs(name);
  jobs_.clear();
}

void FaultyHost::start_slowly(const Step& step) {
  const auto* job = std::get_if<actuators::StartJob>(&step);
  if (job == nullptr || longest_job_ms_ == 0) return;
  host_.hold_jobs(job->key.name);
  jobs_.push_back({clock_.steady() + milliseconds{1 + draw_.below(longest_job_ms_)}, job->key.name});
}

void FaultyHost::on_hint(std::function<void(const std::string& uid)> callback) {
  callback_ = std::move(callback);
  host_.on_hint([this](const std::string& uid) {
    if (lose_ > 0 && draw_.one_in(lose_)) return;
    const std::uint32_t times = repeat_ > 0 && draw_.one_in(repeat_) ? 3 : 1;
    for (std::uint32_t i = 0; i < times; ++i) {
      if (delay_ > 0 && draw_.one_in(delay_)) {
        hints_.push_back({clock_.steady() + milliseconds{1 + draw_.below(5'000)}, uid});
      } else {
        pass_on(uid);
      }
    }
  });
}

void FaultyHost::pass_on(const std::string& uid) {
  if (callback_) callback_(uid);
}

bool FaultyHost::deliver_due() {
  const auto now = clock_.steady();
  bool any = false;
  for (std::size_t i = 0; i < jobs_.size();) {
    if (jobs_[i].due > now) {
      ++i;
      continue;
    }
    const auto name = jobs_[i].uid;
    jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
    trace_.line("jobs named {} end", name);
    host_.release_jobs(name);
    any = true;
    i = 0;
  }
  for (std::size_t i = 0; i < hints_.size();) {
    if (hints_[i].due > now) {
      ++i;
      continue;
    }
    const auto uid = hints_[i].uid;
    hints_.erase(hints_.begin() + static_cast<std::ptrdiff_t>(i));
    pass_on(uid);
    any = true;
  }
  return any;
}

std::optional<SteadyTime> FaultyHost::next_due() const {
  std::optional<SteadyTime> next;
  for (const auto* each : {&hints_, &jobs_}) {
    for (const auto& later : *each) next = next ? std::min(*next, later.due) : later.due;
  }
  return next;
}

}  // namespace banger::simulation
