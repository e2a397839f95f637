// SPDX-License-Identifier: Apache-2.0
// Jobs on a few threads of this process. What a job does is handed in, one function for each kind of job.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "actuators/jobs.hpp"
#include "base/clock.hpp"
#include "base/shared.hpp"

namespace banger::actuators {

template <class Spec>
using JobRunner = std::function<Result<std::string>(const Spec&, const std::stop_token&)>;

struct JobRunners {
  JobRunner<BuildImage> build_image;
  JobRunner<BuildInitrd> build_initrd;
  JobRunner<MakeRootDisk> make_root_disk;
  JobRunner<MakeDataDisk> make_data_disk;
  JobRunner<SyncGuest> sync_guest;
  JobRunner<ProbeSsh> probe_ssh;
};

// Thread-safe. A failed job is started again by the same spec. Jobs that move much data take at most half of the threads, so that
// a guest's sync never waits for images. Destruction tells every job to stop and waits for those that run.
class JobPool final : public Jobs {
 public:
  static constexpr std::size_t kThreads = 4;

  JobPool(JobRunners runners, Clock& clock, std::size_t threads = kThreads);
  ~JobPool() override;
  JobPool(const JobPool&) = delete;
  JobPool& operator=(const JobPool&) = delete;

  // Busy also while a job of this key that was forgotten has not stopped yet.
  Result<bool> start(const JobKey& key, const JobSpec& spec) override;
  std::vector<JobView> observe(const std::string& owner_uid) override;
  std::vector<Shared<JobView>> observe_all();  // sorted by key; one that has ended is the same one each time
  bool forget(const JobKey& key) override;
  void on_finished(std::function<void(const JobKey&)> callback) override;

  // A job of this owner that writes files is running, a forgotten one included.
  bool writes_for(const std::string& owner_uid);

 private:
  struct Job {
    JobView view;
    SteadyTime started;
    std::stop_source stop;
    bool forgotten = false;
    std::optional<Shared<JobView>> ended;  // the view, once it was told after the end
  };

  [[nodiscard]] JobView view_now(const Job& job);
  [[nodiscard]] Shared<JobView> shared_view(Job& job);
  std::shared_ptr<Job> take();  // the next to run; needs the lock; null: none may run now
  void work(const std::stop_token& stop);
  void run(const std::shared_ptr<Job>& job);
  [[nodiscard]] Result<std::string> run_spec(const JobSpec& spec, const std::stop_token& stop) const;

  JobRunners runners_;
  Clock& clock_;
  std::size_t heavy_limit_;
  std::function<void(const JobKey&)> on_finished_;
  std::mutex mutex_;
  std::condition_variable_any work_there_;
  std::map<JobKey, std::shared_ptr<Job>> jobs_;
  std::map<JobKey, std::shared_ptr<Job>> stopping_;  // forgotten, still running
  std::deque<std::shared_ptr<Job>> waiting_;
  std::size_t heavy_running_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace banger::actuators
