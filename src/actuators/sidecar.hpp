// SPDX-License-Identifier: Apache-2.0
// vm.json beside each VM: what the VM was last started as, and the names of what was made for it. Written and synced before the
// objects it names are made. A hint for teardown and adoption; what the kernel shows always wins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/virtual_machine.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace banger::actuators {

struct NicRecord {
  std::string network;  // name
  std::string network_uid;
  std::string tap;
  std::string mac;
  std::string address;  // "10.1.2.3/24"
  std::string gateway;
  std::int64_t tap_index = 0;  // interface index of the tap that the VMM of the last launch opened; 0: none yet
  // What the guest of the last launch was told of the network; without an MTU nothing is known.
  std::int64_t mtu = 0;
  std::vector<std::string> nameservers{};
  bool operator==(const NicRecord&) const = default;
};

struct KernelRecord {  // what was booted at the last launch
  std::string path;
  std::string initrd;
  std::vector<std::string> args;  // the Kernel's, without the VM's own
  bool operator==(const KernelRecord&) const = default;
};

struct ProcessRecord {  // the VMM of the last launch, once it was seen
  std::int64_t pid = 0;
  std::uint64_t start_time_ticks = 0;
  std::string exe;
  std::string socket;
  bool operator==(const ProcessRecord&) const = default;
};

struct Sidecar {
  std::uint32_t format = 1;
  std::string uid;
  std::string ns;
  std::string name;
  std::uint64_t generation = 0;           // of launched_spec
  api::VirtualMachineSpec launched_spec;  // what the running (or last) VMM was made from
  std::vector<NicRecord> nics;
  std::optional<KernelRecord> kernel{};  // absent: not known
  std::string image_digest;
  std::string root_backend;             // "dm-snapshot" | "reflink" | "copy"; set once the root disk is made
  std::string root_backend_reason;      // with backend auto: why no better one
  Bytes root_size;                      // of the root disk as it was activated last
  std::string dm_name;                  // written before the node is made; cleared once it was seen to be gone
  std::vector<std::string> loop_files;  // backing files of loops, likewise
  std::vector<std::string> disk_names;  // data disks that were made
  std::optional<ProcessRecord> process;
  // The object as it is wanted: what an empty database is filled from. Its resource_version is left out.
  api::ObjectMeta meta;
  api::VirtualMachineSpec spec;
  std::string boot_id;         // of the host at launch
  std::uint64_t launches = 0;  // how often a VMM was started for this VM
  std::optional<WallTime> launched;
  std::string sync_nonce;  // of the last guest sync that was confirmed, with its launch number: "<launches>:<hex>"
  // How the last launch ended or is about to be ended by us; empty while it should run. "Stopped": on purpose; "NetworkLost",
  // "StartFailed": by us, for that reason; else an ExitView's reason. Written before we kill and when an end was seen.
  std::string ended;
  std::uint64_t restarts = 0;             // launches that followed an end nobody asked for
  std::uint64_t failures = 0;             // such ends in a row, for the backoff
  std::optional<WallTime> restart_after;  // not launched again before this
  bool operator==(const Sidecar&) const = default;
};

std::string encode_sidecar(const Sidecar& sidecar);  // JSON text
Result<Sidecar> decode_sidecar(std::string_view text);

}  // namespace banger::actuators
