// SPDX-License-Identifier: Apache-2.0
// The host that is this machine: every port implemented in this process, on this kernel, without running a program (a VM's shim
// apart).
#pragma once

#include <memory>
#include <string>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/result.hpp"

namespace banger::actuators {

struct LocalHostOptions {
  Layout layout;                     // both absolute
  std::string shim_path;             // empty: banger-shim is looked for where this program is installed
  std::string init_path;             // empty: banger-init likewise
  std::string qemu_path;             // empty: qemu-system-x86_64 on PATH
  std::string accelerator = "auto";  // auto | kvm | tcg
};

// Invalid for wrong options. What this machine lacks (QEMU, cgroups, /dev/net/tun, root) is not an error here: the steps that
// need it say so. It lives in the network namespace of the calling thread; every thread that uses it must be in that one. clock
// and random must be thread-safe and outlive it.
//
// observe_all reports the VMs that have a directory below this layout, or a cgroup and a run directory or process of this layout:
// other daemons' VMs on the same machine are none of ours.
Result<std::unique_ptr<Host>> make_local_host(const LocalHostOptions& options, Clock& clock, Random& random);

}  // namespace banger::actuators
