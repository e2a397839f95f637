// SPDX-License-Identifier: Apache-2.0
// The QEMU driver: starts a VM's VMM under its shim and in its cgroup, ends it, and says what is there. Remembers nothing that
// the kernel does not show: a daemon that has just started sees the same. What it has verified and the kernel says has not ended
// is not read again (verified_groups.hpp).
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "actuators/vmm/accelerator.hpp"
#include "actuators/vmm/cgroup.hpp"
#include "actuators/vmm/exit_watcher.hpp"
#include "actuators/vmm/process_table.hpp"
#include "actuators/vmm/processes.hpp"
#include "actuators/vmm/verified_groups.hpp"
#include "base/file_state.hpp"
#include "base/result.hpp"
#include "base/shared.hpp"

namespace banger::actuators::vmm {

struct MachinesOptions {
  Layout layout;
  std::string shim_path;
  std::string qemu_path;    // empty: qemu-system-x86_64 on PATH
  Accelerator accelerator;  // choose_accelerator()
  std::uint64_t serial_log_max = 1U << 20U;
};

enum class Monitor { Ask, Leave };
enum class Strays { WhereNoVmmIs, Everywhere };  // processes outside the groups

struct Look {
  Shared<VmmView> vmm;  // the same one as before where nothing has changed
  bool run_directory_exists = false;
};

class Machines {
 public:
  // on_hint(uid) comes from a thread of ours when a VM's shim has ended. A hierarchy that is an error makes every step answer it.
  Machines(MachinesOptions options, Result<Hierarchy> hierarchy, std::function<void(const std::string& uid)> on_hint);

  Result<Applied> apply(const LaunchVmm& step);
  Result<Applied> apply(const ResumeVmm& step);
  Result<Applied> apply(const KillVmm& step);
  Result<Applied> apply(const RemoveCgroup& step);
  Result<Applied> apply(const ClearRunDirectory& step);

  VmmView observe(const std::string& uid, Monitor monitor);
  // Monitors are not asked. One look at /proc for all; none where no strays are to be looked for.
  Result<std::map<std::string, Look>> observe_all(const std::set<std::string>& uids, Strays strays = Strays::WhereNoVmmIs);

  [[nodiscard]] bool populated(const std::string& uid) const;
  // Busy while the group has processes, or a shim or VMM outside it names the VM's socket, or somebody answers there: what is the
  // VM's must stay then.
  Result<void> check_gone(const std::string& uid);
  [[nodiscard]] std::vector<std::string> cgroup_uids() const;  // every group named like ours, other daemons' included

 private:
  // Opened before it was read: if the pidfd is silent afterwards, this is what was read.
  struct Member {
    Process process;
    UniqueFd pidfd;
  };
  [[nodiscard]] VmmView begin_view(const std::string& uid) const;
  [[nodiscard]] std::vector<Member> members(const std::string& uid) const;
  std::string look_at_qemu();                         // canonical path of the configured one; forgets all when it is another file
  [[nodiscard]] std::string configured_qemu() const;  // empty: there is none
  void add_group(VmmView& view, const std::string& uid, const std::vector<Member>& group, const std::string& qemu);
  [[nodiscard]] Shared<VmmView> read_group(const std::string& uid, const FileState& run_directory, const std::string& qemu);
  static Result<void> add_strays(std::map<std::string, Look>& looks, Strays strays);
  static void add_stray(VmmView& view, const Process& process);
  void add_exit(VmmView& view, const std::string& uid) const;

  MachinesOptions options_;
  std::optional<Cgroups> cgroups_;
  Error no_cgroups_;
  std::mutex launching_;
  ProcessTable table_;
  VerifiedGroups verified_;
  std::mutex looking_;
  FileState qemu_;  // at the last look at all
  ExitWatcher watcher_;
  std::jthread measuring_;
};

}  // namespace banger::actuators::vmm
