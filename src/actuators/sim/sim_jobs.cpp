// SPDX-License-Identifier: Apache-2.0
// Jobs of the model: done at once, or when their name is released.
#include <fmt/format.h>

#include <algorithm>

#include "actuators/built_image.hpp"
#include "actuators/sim/sim_host.hpp"

namespace banger::actuators::sim {
namespace {

constexpr Bytes kImageSize = mib(64);

Error job_unavailable(std::string message) {
  return {.code = ErrorCode::Unavailable, .message = std::move(message), .sys_errno = 0};
}

}  // namespace

Result<Applied> SimHost::run(const StartJob& step) {
  const auto found = jobs_.find(step.key);
  if (found != jobs_.end()) {
    const bool same = found->second.spec == step.spec;
    if (same && found->second.state != JobState::Failed) return Applied::Unchanged;
    if (!same && found->second.state == JobState::Running)
      return fail({.code = ErrorCode::Busy, .message = "starting job " + step.key.name + ": an older one runs", .sys_errno = 0});
  }
  JobView& job = jobs_[step.key];
  job = JobView{.key = step.key, .spec = step.spec, .state = JobState::Running, .result = "", .error = {}, .duration = {}};
  if (!held_jobs_.contains(step.key.name)) finish(job);
  return Applied::Changed;
}

Result<Applied> SimHost::run(const ForgetJob& step) { return jobs_.erase(step.key) > 0 ? Applied::Changed : Applied::Unchanged; }

void SimHost::finish(JobView& job) {
  const auto failing = failing_jobs_.find(job.key.name);
  auto result = failing != failing_jobs_.end() ? fail(failing->second) : outcome(job.spec);
  job.state = result ? JobState::Done : JobState::Failed;
  if (result) {
    job.result = *std::move(result);
  } else {
    job.error = std::move(result).error();
  }
  job.duration = std::chrono::milliseconds(5);
  hints_.push_back(job.key.owner_uid);
}

Result<std::string> SimHost::outcome(const JobSpec& spec) {
  return std::visit([this](const auto& each) { return work(each); }, spec);
}

Result<std::string> SimHost::work(const BuildImage& job) {
  const auto source = facts_of(job.spec.path);
  if (!source.exists) return fail(not_found(job.spec.path + ": no such file"));
  const std::string digest = fmt::format("sha256:{:064x}", static_cast<std::uint64_t>(source.mtime_ns) ^ source.size.value);
  if (!job.spec.digest.empty() && job.spec.digest != digest)
    return fail(invalid(fmt::format("{}: its digest is {}, the image asks for {}", job.spec.path, digest, job.spec.digest)));
  const Bytes size = job.spec.size.value_or(kImageSize);
  const std::string path = (image_dir(layout_, job.image_uid) / fmt::format("base-{}.ext4", digest.substr(7))).string();
  directories_.insert(job.image_uid);
  files_[path] = FileFacts{.path = path, .exists = true, .size = size, .mtime_ns = source.mtime_ns};
  return encode_built_image(
      {.path = path, .digest = digest, .format = job.spec.format == api::ImageFormat::Raw ? "raw" : "tar", .size = size});
}

Result<std::string> SimHost::work(const BuildInitrd& job) {
  std::string path = (kernel_dir(layout_, job.kernel_uid) /
                      fmt::format("initrd-{:016x}", static_cast<std::uint64_t>(std::hash<std::string>{}(job.modules_dir))))
                         .string();
  directories_.insert(job.kernel_uid);
  files_[path] = FileFacts{.path = path, .exists = true, .size = mib(4), .mtime_ns = 1};
  return path;
}

Result<std::string> SimHost::work(const MakeRootDisk& job) {
  Vm& vm = vms_[job.vm_uid];
  if (!vm.directory) return fail(not_found("making the root disk: the VM's directory does not exist"));
  const auto disk = vm.disks.find("root");
  if (disk == vm.disks.end() && job.present) return fail(not_found("growing the root disk: it is gone"));
  const bool snapshot = disk != vm.disks.end() ? vm.cow.has_value()
                                               : job.backend == api::DiskBackend::DmSnapshot ||
                                                     (job.backend == api::DiskBackend::Auto && device_mapper_);
  if (snapshot) return make_cow(job, vm);
  if (disk == vm.disks.end()) {
    const auto base = facts_of(job.base_path);
    if (!base.exists) return fail(not_found("making the root disk: no base " + job.base_path));
    vm.disks.emplace("root", DiskView{.name = "root",
                                      .path = root_disk_path(layout_, job.vm_uid).string(),
                                      .size = std::max(base.size, job.size),
                                      .allocated = {},
                                      .backend = "copy"});
  } else {
    disk->second.size = std::max(disk->second.size, job.size);
  }
  if (job.backend != api::DiskBackend::Auto) return "copy";
  return "copy: there is no device-mapper, and a simulated file system shares no extents";
}

Result<std::string> SimHost::work(const MakeDataDisk& job) {
  Vm& vm = vms_[job.vm_uid];
  if (!vm.directory) return fail(not_found("making the disk: the VM's directory does not exist"));
  if (job.present && !vm.disks.contains(job.disk)) return fail(not_found("growing the disk " + job.disk + ": it is gone"));
  auto& disk = vm.disks[job.disk];
  disk.name = job.disk;
  disk.path = data_disk_path(layout_, job.vm_uid, job.disk).string();
  disk.size = std::max(disk.size, job.size);
  return disk.path;
}

Result<std::string> SimHost::work(const SyncGuest& job) {
  const auto found = vms_.find(job.target.vm_uid);
  if (found == vms_.end() || !found->second.vmm || !found->second.reachable)
    return fail(job_unavailable("GuestUnreachable: no answer within 2 s"));
  if (found->second.sync == SyncAnswer::Fails)
    return fail({.code = ErrorCode::Denied, .message = "the guest refused our key", .sys_errno = 0});
  return found->second.sync == SyncAnswer::WrongNonce ? std::string("0000") : job.nonce;
}

Result<std::string> SimHost::work(const ProbeSsh& job) {
  const auto found = vms_.find(job.target.vm_uid);
  if (found == vms_.end() || !found->second.vmm || !found->second.reachable)
    return fail(job_unavailable("no SSH banner within 1 s"));
  return "SSH-2.0-sim";
}

}  // namespace banger::actuators::sim
