// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/machines.hpp"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "actuators/vmm/exit_record.hpp"
#include "actuators/vmm/launch.hpp"
#include "actuators/vmm/qemu_command.hpp"
#include "actuators/vmm/qmp.hpp"
#include "actuators/vmm/spawn.hpp"
#include "actuators/vmm/tsc.hpp"
#include "base/files.hpp"

namespace banger::actuators::vmm {
namespace {

namespace fs = std::filesystem;

std::string canonical(const fs::path& path) {
  std::error_code error;
  const auto found = fs::canonical(path, error);
  return error ? path.native() : found.native();
}

bool names_shim(std::string_view path) { return fs::path(path).filename() == "banger-shim"; }

// A process that becomes the VMM changes its executable before its arguments can be read: until both are the VMM's it is a shim.
bool is_shim(const Process& process) {
  return names_shim(executable_path(process.exe)) || (!process.arguments.empty() && names_shim(process.arguments.front()));
}

// What a shim was told to run: the word after "--".
std::string program_of_shim(const Process& shim) {
  const auto separator = std::ranges::find(shim.arguments, "--");
  return separator == shim.arguments.end() || separator + 1 == shim.arguments.end() ? std::string() : *(separator + 1);
}

std::string own_program() {
  std::error_code error;
  return std::string(executable_path(fs::read_symlink("/proc/self/exe", error).native()));
}

// A child of ours that is on its way to be a shim shows our own program and command line.
bool shows_itself(const Process& process) {
  static const auto kOwn = own_program();
  return !process.arguments.empty() && executable_path(process.exe) != kOwn;
}

ProcessView view_of(const Process& process, const std::string& socket, bool in_group) {
  return {.pid = process.pid,
          .start_time_ticks = process.start_time_ticks,
          .exe = process.exe,
          .is_shim = is_shim(process),
          .names_socket = names_path(process.arguments, socket),
          .in_cgroup = in_group,
          .unreadable = !shows_itself(process)};
}

}  // namespace

Machines::Machines(MachinesOptions options, Result<Hierarchy> hierarchy, std::function<void(const std::string& uid)> on_hint)
    : options_(std::move(options)), watcher_(std::move(on_hint)) {
  if (hierarchy) {
    cgroups_.emplace(*std::move(hierarchy));
  } else {
    no_cgroups_ = std::move(hierarchy).error();
  }
  measuring_ = std::jthread([] { (void)host_tsc_khz(); });  // 50 ms, in nobody's start
}

Result<Applied> Machines::apply(const LaunchVmm& step) {
  const std::lock_guard lock(launching_);
  if (!cgroups_) return fail(no_cgroups_);
  BGR_TRY(const auto qemu, find_qemu(options_.qemu_path));
  const auto socket = monitor_socket_path(options_.layout, step.vm_uid).native();
  BGR_TRY(const auto command, qemu_command(step, QemuHost{qemu, socket, options_.accelerator, host_tsc_khz()}));
  if (cgroups_->populated(step.vm_uid)) {
    return fail({ErrorCode::Busy, fmt::format("cgroup {} still has processes", cgroup_name(step.vm_uid))});
  }
  BGR_CHECK(check_launch(step, options_.shim_path, options_.accelerator));
  BGR_CHECK(clear_for_launch(options_.layout, step.vm_uid));
  // A group that was killed once is made anew: since Linux 6.14 a process cloned into it compares its parent's group's kill count
  // with this one's and is killed at birth.
  BGR_CHECK(cgroups_->remove(step.vm_uid));
  BGR_CHECK(cgroups_->make(step.vm_uid));
  BGR_TRY(const auto group, cgroups_->open_for_spawn(step.vm_uid));
  Spawn what{shim_command(step, options_.layout, options_.shim_path, options_.serial_log_max, command)};
  if (cgroups_->hierarchy().version == 2) {
    what.cgroup_directory = group.front().get();
  } else {
    for (const auto& fd : group) what.cgroup_procs.push_back(fd.get());
  }
  auto child = spawn(what);
  if (!child) {
    (void)cgroups_->remove(step.vm_uid);
    return fail(child.error());
  }
  watcher_.watch_child(step.vm_uid, child->pid, std::move(child->pidfd));
  return Applied::Changed;
}

Result<Applied> Machines::apply(const ResumeVmm& step) {
  BGR_TRY(const bool resumed, resume_guest(monitor_socket_path(options_.layout, step.vm_uid)));
  return resumed ? Applied::Changed : Applied::Unchanged;
}

Result<Applied> Machines::apply(const KillVmm& step) {
  if (!cgroups_) return fail(no_cgroups_);
  auto view = begin_view(step.vm_uid);
  for (const auto& member : members(step.vm_uid)) view.processes.push_back(view_of(member.process, view.socket, true));
  if (is_foreign_group(view))
    return fail(
        {ErrorCode::Conflict, fmt::format("NameConflict: the processes in cgroup {} are not ours", cgroup_name(step.vm_uid))});
  BGR_TRY(const bool killed, cgroups_->kill(step.vm_uid));
  return killed ? Applied::Changed : Applied::Unchanged;
}

Result<Applied> Machines::apply(const RemoveCgroup& step) {
  if (!cgroups_) return fail(no_cgroups_);
  BGR_TRY(const bool removed, cgroups_->remove(step.vm_uid));
  return removed ? Applied::Changed : Applied::Unchanged;
}

Result<Applied> Machines::apply(const ClearRunDirectory& step) {
  BGR_CHECK(check_gone(step.vm_uid));
  const auto directory = vm_run_dir(options_.layout, step.vm_uid);
  if (::access(directory.c_str(), F_OK) != 0 && errno == ENOENT) return Applied::Unchanged;
  BGR_CHECK(remove_tree(directory));
  return Applied::Changed;
}

bool Machines::populated(const std::string& uid) const { return cgroups_ && cgroups_->populated(uid); }

Result<void> Machines::check_gone(const std::string& uid) {
  if (populated(uid)) return fail({ErrorCode::Busy, fmt::format("cgroup {} still has processes", cgroup_name(uid))});
  BGR_TRY(const auto found, table_.naming(short_id(uid)));
  const auto socket = monitor_socket_path(options_.layout, uid).native();
  if (is_answered(socket)) return fail({ErrorCode::Busy, fmt::format("{} is still answered", socket)});
  const auto qemu = configured_qemu();
  for (const auto& process : found) {
    if (!names_path(process.arguments, socket) || (!is_shim(process) && executable_path(process.exe) != qemu)) continue;
    return fail({ErrorCode::Busy, fmt::format("process {} outside the VM's cgroup still runs it", process.pid)});
  }
  return {};
}

std::vector<std::string> Machines::cgroup_uids() const { return cgroups_ ? cgroups_->uids() : std::vector<std::string>{}; }

VmmView Machines::observe(const std::string& uid, Monitor monitor) {
  auto view = begin_view(uid);
  if (view.cgroup_exists) add_group(view, uid, members(uid), configured_qemu());
  if (!view.vmm) {
    // Only where no VMM is where it belongs is one looked for elsewhere: that costs a look at every process.
    if (const auto found = table_.naming(short_id(uid))) {
      for (const auto& process : *found) add_stray(view, process);
    }
  }
  add_exit(view, uid);
  verified_.forget_unless(uid, view);
  if (monitor == Monitor::Ask && view.vmm) {
    auto answer = ask_monitor(view.socket);
    view.monitor = answer.state;
    view.version = std::move(answer.version);
  }
  return view;
}

Result<std::map<std::string, Look>> Machines::observe_all(const std::set<std::string>& uids, Strays strays) {
  const std::lock_guard lock(looking_);
  const auto qemu = look_at_qemu();
  verified_.drop_ended();
  std::map<std::string, Look> out;
  if (uids.empty()) return out;
  const FilesBelow run_directories(vm_run_dir(options_.layout, *uids.begin()).parent_path());
  for (const auto& uid : uids) {
    const auto run_directory = run_directories.state(short_id(uid));
    const auto known = verified_.find(uid);
    const bool holds = known && known->run_directory == run_directory;
    out.emplace_hint(out.end(), uid, Look{holds ? known->view : read_group(uid, run_directory, qemu), run_directory.exists});
  }
  BGR_CHECK(add_strays(out, strays));
  return out;
}

// What is in a verified group is not asked.
Result<void> Machines::add_strays(std::map<std::string, Look>& looks, Strays strays) {
  std::vector<Shared<VmmView>*> wanted;
  for (auto& [uid, look] : looks) {
    if (strays == Strays::Everywhere || !look.vmm->vmm) wanted.push_back(&look.vmm);
  }
  if (wanted.empty()) return {};
  std::unordered_set<std::int64_t> placed;
  for (const auto& [uid, look] : looks) {
    for (const auto& process : look.vmm->processes) placed.insert(process.pid);
  }
  BGR_TRY(const auto found, find_processes("/qmp.sock", "/proc", [&](std::int64_t pid) { return placed.contains(pid); }));
  for (const auto& process : found) {
    for (auto* view : wanted) {
      if (!names_path(process.arguments, (*view)->socket)) continue;
      auto next = **view;
      add_stray(next, process);
      *view = std::move(next);
    }
  }
  return {};
}

// Reads everything. A group whose VMM is verified is remembered, unless its run directory is about to change or tells of an end.
Shared<VmmView> Machines::read_group(const std::string& uid, const FileState& run_directory, const std::string& qemu) {
  const auto now = file_clock();
  auto view = begin_view(uid);
  auto group = view.cgroup_exists ? members(uid) : std::vector<Member>{};
  add_group(view, uid, group, qemu);
  add_exit(view, uid);
  const bool rests = view.vmm && !view.exit && run_directory.rested(now);
  const Shared<VmmView> shared(std::move(view));
  std::vector<UniqueFd> pidfds;
  if (rests) std::ranges::transform(group, std::back_inserter(pidfds), [](Member& each) { return std::move(each.pidfd); });
  verified_.remember(uid, {.view = shared, .run_directory = run_directory}, std::move(pidfds));
  return shared;
}

std::vector<Machines::Member> Machines::members(const std::string& uid) const {
  std::vector<Member> out;
  for (const auto pid : cgroups_->pids(uid)) {
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)));
    if (auto process = read_process(pid)) out.push_back({*std::move(process), std::move(pidfd)});
  }
  return out;
}

std::string Machines::look_at_qemu() {
  auto path = configured_qemu();
  const auto state = path.empty() ? FileState{} : file_state(path);
  if (!(state == qemu_)) verified_.forget_all();
  qemu_ = state;
  return path;
}

VmmView Machines::begin_view(const std::string& uid) const {
  VmmView view;
  view.cgroup_populated = cgroups_ && cgroups_->populated(uid);
  view.cgroup_exists = view.cgroup_populated || (cgroups_ && cgroups_->exists(uid));
  view.driver = "qemu";
  view.accelerator = options_.accelerator.name;
  view.accelerator_reason = options_.accelerator.reason;
  view.socket = monitor_socket_path(options_.layout, uid).native();
  return view;
}

std::string Machines::configured_qemu() const {
  const auto found = find_qemu(options_.qemu_path);
  return found ? canonical(*found) : std::string();
}

// The VMM is verified when it is in the group, names the socket, and runs the program that is configured, or the one that its
// shim was told to run (the configuration may have changed since).
void Machines::add_group(VmmView& view, const std::string& uid, const std::vector<Member>& group, const std::string& qemu) {
  std::set<std::string> programs{qemu};
  for (const auto& [process, pidfd] : group) {
    if (!is_shim(process)) continue;
    if (auto program = program_of_shim(process); !program.empty() && program != qemu) programs.insert(canonical(program));
    watcher_.watch(uid, process.pid, pidfd);
  }
  for (const auto& [process, pidfd] : group) {
    view.processes.push_back(view_of(process, view.socket, true));
    const auto& last = view.processes.back();
    if (view.vmm || last.is_shim || !last.names_socket || !programs.contains(std::string(executable_path(process.exe)))) continue;
    view.vmm = last;
    if (const auto accelerator = accelerator_of(process.arguments); !accelerator.empty() && accelerator != view.accelerator) {
      view.accelerator = accelerator;
      view.accelerator_reason = "the running VMM was started with it";
    }
  }
}

void Machines::add_stray(VmmView& view, const Process& process) {
  if (!names_path(process.arguments, view.socket)) return;
  if (std::ranges::find(view.processes, process.pid, &ProcessView::pid) != view.processes.end()) return;
  view.processes.push_back(view_of(process, view.socket, false));
}

// The shim writes the record while it is still in the group: where none of ours was in the group before this, the record is
// complete.
void Machines::add_exit(VmmView& view, const std::string& uid) const {
  const auto text = read_file(exit_record_path(options_.layout, uid), kib(512));
  if (text) {
    auto parsed = parse_exit_record(*text);
    view.exit = parsed ? *std::move(parsed) : ExitView{.reason = "Unknown", .message = parsed.error().message};
    return;
  }
  // The log is made before the VMM: a shim that left nothing else was killed, which only a kill of the whole group does.
  const bool gone = !view.cgroup_populated || is_foreign_group(view);
  if (gone && ::access(vmm_log_path(options_.layout, uid).c_str(), F_OK) == 0) {
    view.exit = ExitView{.reason = "Killed", .signal = SIGKILL, .message = "the VMM and its shim were killed together"};
  }
}

}  // namespace banger::actuators::vmm
