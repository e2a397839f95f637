// SPDX-License-Identifier: Apache-2.0
#include "actuators/job_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

namespace banger::actuators {
namespace {

// Reads or writes whole disks; the others wait for a guest.
bool is_heavy(const JobSpec& spec) { return !std::holds_alternative<SyncGuest>(spec) && !std::holds_alternative<ProbeSsh>(spec); }

Error busy(const JobKey& key, std::string_view why) {
  return {ErrorCode::Busy, fmt::format("job {} of {}: {}", key.name, key.owner_uid, why)};
}

}  // namespace

JobPool::JobPool(JobRunners runners, Clock& clock, std::size_t threads)
    : runners_(std::move(runners)), clock_(clock), heavy_limit_(std::max<std::size_t>(1, threads / 2)) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
}

JobPool::~JobPool() {
  for (auto& thread : threads_) thread.request_stop();
  {
    const std::lock_guard lock(mutex_);
    for (auto& [key, job] : jobs_) job->stop.request_stop();
  }
  work_there_.notify_all();
  threads_.clear();  // joins
}

Result<bool> JobPool::start(const JobKey& key, const JobSpec& spec) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_.contains(key)) return fail(busy(key, "an older one has not stopped yet"));
    if (const auto found = jobs_.find(key); found != jobs_.end()) {
      const auto& view = found->second->view;
      const bool same = view.spec == spec;
      if (same && view.state != JobState::Failed) return false;
      if (view.state == JobState::Running) return fail(busy(key, "another one runs"));
    }
    auto job = std::make_shared<Job>();
    job->view.key = key;
    job->view.spec = spec;
    job->started = clock_.steady();
    jobs_[key] = job;
    waiting_.push_back(std::move(job));
  }
  work_there_.notify_all();
  return true;
}

JobView JobPool::view_now(const Job& job) {
  auto view = job.view;
  if (view.state == JobState::Running) view.duration = clock_.steady() - job.started;
  return view;
}

std::vector<JobView> JobPool::observe(const std::string& owner_uid) {
  const std::lock_guard lock(mutex_);
  std::vector<JobView> out;
  for (auto it = jobs_.lower_bound({owner_uid, ""}); it != jobs_.end() && it->first.owner_uid == owner_uid; ++it) {
    out.push_back(view_now(*it->second));
  }
  return out;
}

Shared<JobView> JobPool::shared_view(Job& job) {
  if (job.view.state == JobState::Running) return view_now(job);
  if (!job.ended) job.ended = job.view;
  return *job.ended;
}

std::vector<Shared<JobView>> JobPool::observe_all() {
  const std::lock_guard lock(mutex_);
  std::vector<Shared<JobView>> out;
  out.reserve(jobs_.size());
  for (const auto& [key, job] : jobs_) out.push_back(shared_view(*job));
  return out;
}

bool JobPool::forget(const JobKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(key);
  if (found == jobs_.end()) return false;
  const auto job = std::move(found->second);
  jobs_.erase(found);
  job->forgotten = true;
  job->stop.request_stop();
  if (std::erase(waiting_, job) == 0 && job->view.state == JobState::Running) stopping_.emplace(key, job);
  return true;
}

bool JobPool::writes_for(const std::string& owner_uid) {
  const std::lock_guard lock(mutex_);
  const auto writes = [&](const auto& entry) {
    const auto& view = entry.second->view;
    return entry.first.owner_uid == owner_uid && view.state == JobState::Running && is_heavy(view.spec);
  };
  return std::ranges::any_of(jobs_, writes) || std::ranges::any_of(stopping_, writes);
}

void JobPool::on_finished(std::function<void(const JobKey&)> callback) { on_finished_ = std::move(callback); }

std::shared_ptr<JobPool::Job> JobPool::take() {
  const auto next = std::ranges::find_if(
      waiting_, [this](const auto& job) { return !is_heavy(job->view.spec) || heavy_running_ < heavy_limit_; });
  if (next == waiting_.end()) return nullptr;
  auto job = std::move(*next);
  waiting_.erase(next);
  return job;
}

void JobPool::work(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      if (!work_there_.wait(lock, stop, [&] { return (job = take()) != nullptr; })) return;
      if (is_heavy(job->view.spec)) ++heavy_running_;
    }
    run(job);
    const std::lock_guard lock(mutex_);
    if (is_heavy(job->view.spec)) --heavy_running_;
    work_there_.notify_all();
  }
}

void JobPool::run(const std::shared_ptr<Job>& job) {
  auto result = run_spec(job->view.spec, job->stop.get_token());  // key and spec never change once it is started
  const JobKey key = job->view.key;
  {
    const std::lock_guard lock(mutex_);
    if (job->forgotten) {
      stopping_.erase(key);
    } else {
      job->view.duration = clock_.steady() - job->started;
      if (result) {
        job->view.result = *std::move(result);
        job->view.state = JobState::Done;
      } else {
        job->view.error = std::move(result).error();
        job->view.state = JobState::Failed;
      }
    }
  }
  // Also for a forgotten one: whoever was told Busy may try again.
  if (on_finished_) on_finished_(key);
}

Result<std::string> JobPool::run_spec(const JobSpec& spec, const std::stop_token& stop) const {
  struct Visit {
    const JobRunners& runners;
    const std::stop_token& stop;
    Result<std::string> operator()(const BuildImage& s) const { return runners.build_image(s, stop); }
    Result<std::string> operator()(const BuildInitrd& s) const { return runners.build_initrd(s, stop); }
    Result<std::string> operator()(const MakeRootDisk& s) const { return runners.make_root_disk(s, stop); }
    Result<std::string> operator()(const MakeDataDisk& s) const { return runners.make_data_disk(s, stop); }
    Result<std::string> operator()(const SyncGuest& s) const { return runners.sync_guest(s, stop); }
    Result<std::string> operator()(const ProbeSsh& s) const { return runners.probe_ssh(s, stop); }
  };
  try {
    return std::visit(Visit{runners_, stop}, spec);
  } catch (const std::exception& error) {
    return fail(internal(fmt::format("the job threw: {}", error.what())));
  }
}

}  // namespace banger::actuators
