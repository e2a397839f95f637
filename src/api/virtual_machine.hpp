// SPDX-License-Identifier: Apache-2.0
// Kind VirtualMachine: what a user asks for, and what is known of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/meta.hpp"
#include "base/units.hpp"

namespace banger::api {

enum class PowerState { Running, Stopped };
enum class RestartPolicy { Always, OnFailure, Never };
enum class DiskBackend { Auto, DmSnapshot, Reflink, Copy };  // in YAML: auto, dm-snapshot, reflink, copy

enum class CowGrowth { Auto, Never };  // in YAML: auto, never

// What a dm-snapshot root disk keeps of the guest's writes. Other backends do not use it.
struct CowSpec {
  std::optional<Bytes> size;           // set aside before the first start; absent: a quarter of the disk, 64 MiB to 1 GiB
  CowGrowth growth = CowGrowth::Auto;  // auto: doubled at 80 %, up to what the disk can ever need; never: only a warning
  bool operator==(const CowSpec&) const = default;
};

struct RootDiskSpec {
  std::optional<Bytes> size;  // at least the image's size; absent: the image's size
  DiskBackend backend = DiskBackend::Auto;
  CowSpec cow;
  bool operator==(const RootDiskSpec&) const = default;
};

struct DataDiskSpec {
  std::string name;  // DNS label of at most 20 characters: it is also the disk's serial number in the guest
  Bytes size;
  std::string mount_path;  // absolute; empty: attached, not mounted
  bool operator==(const DataDiskSpec&) const = default;
};

struct NetworkInterfaceSpec {
  std::string network = "default";
  std::optional<std::string> address;  // fixed IPv4 address inside the network; absent: leased
  bool operator==(const NetworkInterfaceSpec&) const = default;
};

struct SshSpec {
  std::string user = "root";
  std::vector<std::string> authorized_keys;  // lines of an authorized_keys file
  std::int64_t port = 22;
  bool operator==(const SshSpec&) const = default;
};

struct GuestFileSpec {
  std::string path;  // absolute
  std::string content;
  std::int64_t mode = 0644;  // permission bits; YAML writes them as people do: 0644 or "0644"
  bool operator==(const GuestFileSpec&) const = default;
};

struct VirtualMachineSpec {
  PowerState power_state = PowerState::Running;
  RestartPolicy restart_policy = RestartPolicy::Always;
  std::int64_t cpus = 1;  // 1..32
  Bytes memory = mib(256);
  std::string image;                     // an Image
  std::string kernel = "host";           // a Kernel
  std::vector<std::string> kernel_args;  // appended to the guest's command line
  RootDiskSpec root_disk;
  std::vector<DataDiskSpec> disks;
  std::vector<NetworkInterfaceSpec> network_interfaces;  // at most 8
  std::optional<SshSpec> ssh;  // absent: nothing is injected, Ready means that the guest runs, stop cannot sync
  std::vector<GuestFileSpec> files;
  std::string restart_nonce;  // another value than the running VM was started with: restart once (bangerctl restart)
  bool operator==(const VirtualMachineSpec&) const = default;
};

struct StepStatus {
  std::string name;
  std::string state;  // Done | Running | Failed | Undone
  std::chrono::milliseconds duration{};
  std::string message;
  bool operator==(const StepStatus&) const = default;
};

struct NetworkInterfaceStatus {
  std::string network;
  std::string tap;
  std::string mac;
  std::string address;  // "10.1.2.3/24"
  std::string gateway;
  bool operator==(const NetworkInterfaceStatus&) const = default;
};

struct VmmStatus {
  std::string driver;  // "qemu"
  std::string version;
  std::string accelerator;  // "kvm" | "tcg"
  std::string accelerator_reason;
  std::int64_t pid = 0;
  std::uint64_t start_time_ticks = 0;  // field 22 of /proc/PID/stat
  std::string socket;
  std::optional<WallTime> started;
  bool operator==(const VmmStatus&) const = default;
};

struct DiskStatus {
  std::string name;  // "root" or the data disk's name
  std::string path;
  std::string state;  // Missing: it was made, and its file is gone; empty: it is there
  std::string backend;
  std::string backend_reason;  // of the root disk with backend auto: why no better one
  Bytes size;
  std::string device;                            // of an active dm-snapshot: /dev/mapper/…
  std::optional<Bytes> cow_size;                 // of a dm-snapshot
  std::optional<std::int64_t> cow_used_percent;  // of an active dm-snapshot, metadata included
  bool operator==(const DiskStatus&) const = default;
};

struct TerminationStatus {
  std::string reason;  // GuestReboot | GuestShutdown | Killed | Crashed | InternalError | StartFailed | Unknown
  std::int64_t exit_code = 0;
  std::int64_t signal = 0;
  std::optional<WallTime> finished;
  std::string message;
  bool operator==(const TerminationStatus&) const = default;
};

struct PendingChange {
  std::string field;         // "spec.memory"
  std::string update_class;  // Restart | Recreate
  std::string from;
  std::string to;
  bool operator==(const PendingChange&) const = default;
};

struct SshStatus {
  std::string user;
  std::string address;
  std::int64_t port = 0;
  std::string identity_file;     // the daemon's client key, on the host
  std::string known_hosts_file;  // with this VM's pinned host key
  bool operator==(const SshStatus&) const = default;
};

struct ProcessStatus {
  std::int64_t pid = 0;
  std::uint64_t start_time_ticks = 0;
  std::string exe;
  std::string socket;
  bool operator==(const ProcessStatus&) const = default;
};

// What the VM's record (vm.json) names: each before it is made, until it was seen to be gone. Only teardown goes by it.
struct RuntimeStatus {
  std::vector<std::string> taps;
  std::vector<std::string> macs;
  std::vector<std::string> addresses;
  std::vector<std::string> loops;  // backing files
  std::string dm;                  // device-mapper name
  std::optional<ProcessStatus> process;
  bool operator==(const RuntimeStatus&) const = default;
};

struct VirtualMachineStatus {
  std::uint64_t observed_generation = 0;
  std::string phase;                  // Pending | Starting | Running | Stopping | Stopped | Failed | Deleting
  std::vector<Condition> conditions;  // Ready, Running, CleanShutdown, RestartRequired, NameConflict, HostDiskFull, …
  std::vector<NetworkInterfaceStatus> network_interfaces;
  std::vector<DiskStatus> disks;
  std::optional<VmmStatus> vmm;
  std::optional<SshStatus> ssh;
  std::optional<RuntimeStatus> runtime;
  std::int64_t launches = 0;  // how often a VMM was started for it
  std::int64_t restart_count = 0;
  std::optional<TerminationStatus> last_termination;
  std::optional<WallTime> restart_after;  // crash backoff: not started again before this
  std::vector<PendingChange> pending_changes;
  std::vector<StepStatus> steps;                   // the latest start or stop, in order
  std::vector<KernelObjectStatus> kernel_objects;  // as last seen
  bool operator==(const VirtualMachineStatus&) const = default;
};

struct VirtualMachine {
  VirtualMachineSpec spec;
  VirtualMachineStatus status;
  bool operator==(const VirtualMachine&) const = default;
};

}  // namespace banger::api
