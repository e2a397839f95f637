// SPDX-License-Identifier: Apache-2.0
// The host as the reconcilers see it: read what is, apply one step. Three implementations: local (this kernel), simulated, and
// later the root helper's client.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actuators/host_object.hpp"
#include "actuators/jobs.hpp"
#include "actuators/sidecar.hpp"
#include "actuators/step.hpp"
#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/inet.hpp"
#include "base/result.hpp"
#include "base/shared.hpp"

namespace banger::actuators {

// --- what is observed --------------------------------------------------------------------------------------------------------
struct LinkView {
  std::string name;
  std::int64_t index = 0;
  std::string kind;     // "bridge", "tun", "veth", … ; empty for hardware
  std::string alias;    // ifalias, as it stands
  std::string owner{};  // the uid in it, where it is a label of this daemon's; empty: not ours
  std::string master;   // name of the bridge it is on
  bool up = false;      // administratively
  std::int64_t mtu = 0;
  std::vector<std::string> addresses;  // IPv4, "10.1.2.1/24"
  bool leaving = false;                // RemoveLink was applied to it, and it is about to go
  bool operator==(const LinkView&) const = default;
};

struct RouteView {  // an IPv4 route of the main table
  Cidr destination;
  std::string link;
  bool operator==(const RouteView&) const = default;
};

struct NatView {
  std::string table;
  std::string comment;  // the label, as it stands
  std::string owner{};  // as of a link
  std::string bridge;   // of the rules found; empty when they are not as we write them
  std::string cidr;
  bool operator==(const NatView&) const = default;
};

struct ProcessView {
  std::int64_t pid = 0;
  std::uint64_t start_time_ticks = 0;
  std::string exe;  // readlink of /proc/PID/exe
  bool is_shim = false;
  bool names_socket = false;  // its command line names this VM's monitor socket
  bool in_cgroup = false;
  bool unreadable = false;  // shows no command line of its own: it ends, or is between fork and exec
  bool operator==(const ProcessView&) const = default;
};

// IoError: QEMU paused the guest because the host refused one of its writes; only ResumeVmm lets it go on.
enum class MonitorState { NotAsked, Unreachable, Prelaunch, Running, Paused, Shutdown, InternalError, IoError };

struct ExitView {
  std::string reason;  // GuestReboot | GuestShutdown | Killed | Crashed | InternalError | StartFailed | Unknown
  std::int64_t exit_code = 0;
  std::int64_t signal = 0;
  std::optional<WallTime> finished;
  std::string message;  // the last lines of the VMM's stderr, printable, at most 1 KiB
  bool operator==(const ExitView&) const = default;
};

struct VmmView {
  bool cgroup_exists = false;
  bool cgroup_populated = false;
  std::vector<ProcessView> processes;  // of the cgroup, and any other process whose command line names the VM's socket
  std::optional<ProcessView> vmm;      // the one VMM that is verified: in the cgroup, right executable, names the socket
  MonitorState monitor = MonitorState::NotAsked;
  std::string driver;  // "qemu"
  std::string version;
  std::string accelerator;  // "kvm" | "tcg"
  std::string accelerator_reason;
  std::string socket;
  std::optional<ExitView> exit;  // of the last VMM, from the shim's record
  bool operator==(const VmmView&) const = default;
};

// The VM's group is populated, none in it is the VM's shim or VMM (both name its socket), and at least one shows what it is
// instead: it is somebody else's, and is neither ended nor started in.
inline bool is_foreign_group(const VmmView& view) {
  bool shown = false;
  for (const auto& process : view.processes) {
    if (!process.in_cgroup) continue;
    if (process.names_socket) return false;
    shown = shown || !process.unreadable;
  }
  return view.cgroup_populated && shown;
}

struct DiskView {
  std::string name;  // "root" or the data disk's
  std::string path;  // its file: root.img, root.cow, disk-<name>.img
  Bytes size;        // of that file
  Bytes allocated;
  std::string backend;  // of the root disk: "dm-snapshot" when it is a root.cow, else "reflink" or "copy"
  bool operator==(const DiskView&) const = default;
};

struct LoopView {
  std::string device;   // "/dev/loop3"
  std::string backing;  // path of the file as the kernel shows it; " (deleted)" is cut off
  bool deleted = false;
  bool read_only = false;
  bool autoclear = false;
  std::string label;  // lo_file_name
  Bytes size;
  bool operator==(const LoopView&) const = default;
};

// The device-mapper node that bears the VM's dm name.
struct SnapshotView {
  std::string name;
  std::string uuid;
  bool ours = false;  // uuid is dm_uuid of this VM
  bool live = false;  // has a live table: one snapshot target, of type PO with 64 KiB chunks
  bool suspended = false;
  std::int64_t open_count = 0;
  Bytes size;               // of the disk
  std::string origin;       // "/dev/loop1"; the loop over root.base
  std::string cow;          // "/dev/loop2"; the loop over root.cow
  std::string origin_file;  // what that loop stands over; empty: no loop or nothing
  std::string cow_file;
  Bytes cow_used;  // metadata included
  Bytes cow_size;
  bool overflow = false;  // the COW is full: writes fail, nothing is lost, growing it cures it
  bool invalid = false;   // the kernel gave the snapshot up: reads fail too
  bool operator==(const SnapshotView&) const = default;
};

// Of the file system that holds the state directory. Low: less than a twentieth and than 1 GiB is free; Full: less than a
// hundredth and than 32 MiB.
enum class SpaceLevel { Plenty, Low, Full };

// One VM's slice of the host.
struct VmView {
  std::string uid;
  bool directory_exists = false;
  bool directory_is_link = false;  // a symbolic link stands in its place; nothing behind it is looked at
  std::optional<Sidecar> sidecar;
  std::string sidecar_error;  // it is there and cannot be read; says why
  std::vector<std::string>
      pinned_addresses;  // without a sidecar: under which known_hosts pins the guest's host key, in its order
  std::vector<DiskView> disks;
  std::optional<SnapshotView> snapshot;  // by name, ours or not
  std::vector<LoopView> loops;           // over a file in the VM's directory, or labelled with its uid
  std::string root_unseen;               // why neither of the two could be looked at (and both are empty); empty: they were
  std::optional<std::string> initrd_config_hash;  // of the GuestConfig and base initrd that <vm_dir>/initrd was made from
  std::vector<LinkView> links;  // labelled with this uid, and those that bear one of its tap names with another label or none
  VmmView vmm;
  bool run_directory_exists = false;
  SpaceLevel space = SpaceLevel::Plenty;  // as observe_vm sees it
  std::vector<JobView> jobs;
  std::string boot_id;
  bool operator==(const VmView&) const = default;
};

// object.json in the directory of a Network, an Image or a Kernel.
struct RecordView {
  std::optional<api::Object> object;
  std::string error;  // it is there and cannot be read, or is not ours alone; says why
  bool operator==(const RecordView&) const = default;
};

struct NetworkView {
  std::string uid;
  bool directory_exists = false;
  RecordView record;
  std::vector<LinkView> links;                // labelled with this uid, or bearing the bridge's name
  std::optional<NatView> nat;                 // the table of this network's name, ours or not
  std::vector<RouteView> routes;              // all of the host's
  bool forwarding = false;                    // net.ipv4.ip_forward
  std::vector<std::string> host_nameservers;  // without loopback
  std::vector<std::string> foreign_links;     // names of all links that are not ours
  bool operator==(const NetworkView&) const = default;
};

struct FileFacts {
  std::string path;
  bool exists = false;
  Bytes size;
  std::int64_t mtime_ns = 0;
  bool operator==(const FileFacts&) const = default;
};

struct ImageView {
  std::string uid;
  FileFacts source;
  std::vector<FileFacts> built;  // base-*.ext4 in its directory
  bool directory_exists = false;
  RecordView record;
  std::vector<JobView> jobs;
  bool operator==(const ImageView&) const = default;
};

struct HostKernel {  // an installed kernel package: /boot/vmlinuz-<version> with /lib/modules/<version>
  std::string version;
  std::string path;
  std::string modules_dir;
  bool operator==(const HostKernel&) const = default;
};

struct KernelView {
  std::string uid;
  FileFacts kernel;                      // spec.path, or the newest host kernel's
  FileFacts initrd{};                    // spec.initrd, where one is given
  bool boots = false;                    // the kernel's file is an ELF vmlinux or a bzImage
  std::vector<HostKernel> host_kernels;  // newest first (version order)
  std::vector<FileFacts> built;          // initrd-* in its directory
  bool directory_exists = false;
  RecordView record;
  std::vector<JobView> jobs;
  bool operator==(const KernelView&) const = default;
};

// All VMs and networks in one pass: each class of kernel object is read once, whatever the number of VMs.
struct HostView {
  // By uid: every uid for which anything of ours was found, and those asked for. A host may give out one and the same view as the
  // time before where nothing has changed.
  std::map<std::string, Shared<VmView>> vms;
  std::map<std::string, NetworkView> networks;
  bool operator==(const HostView&) const = default;
};

// A record as it lies in the state directory: what an empty database is filled from.
struct StoredRecord {
  api::Kind kind = api::Kind::VirtualMachine;  // Network, Image, Kernel or VirtualMachine
  std::string uid;                             // of its directory
  std::string path;                            // of the file
  std::optional<api::Object> object;           // as it is wanted; of a VM meta and spec of its sidecar
  std::optional<Sidecar> sidecar;              // of a VM
  std::string error;                           // why neither is there: absent, damaged, not ours alone
  bool operator==(const StoredRecord&) const = default;
};

struct ImageQuery {
  std::string uid;
  std::string source_path;
};
struct KernelQuery {
  std::string uid;
  std::string path;      // empty for the host's package
  std::string initrd{};  // empty: none is given
};
struct NetworkQuery {
  std::string uid;
  std::string bridge;  // the name wanted
};

// --- the port ----------------------------------------------------------------------------------------------------------------
class Host {
 public:
  virtual ~Host() = default;

  // One VM, by its names; nic_count says which tap names to look for beside the labelled ones. Asks the VMM's monitor.
  virtual Result<VmView> observe_vm(const std::string& uid, std::size_t nic_count) = 0;
  virtual Result<NetworkView> observe_network(const NetworkQuery& query) = 0;
  virtual Result<ImageView> observe_image(const ImageQuery& query) = 0;
  virtual Result<KernelView> observe_kernel(const KernelQuery& query) = 0;

  // Everything, once. Monitors are not asked.
  virtual Result<HostView> observe_all(const std::vector<NetworkQuery>& networks) = 0;

  // Every directory of a VM, Network, Image or Kernel with what its record says, ordered by kind and uid.
  virtual Result<std::vector<StoredRecord>> records() { return std::vector<StoredRecord>{}; }
  // Everything of ours, and what bears our names or stands over our files without being ours; each class of things is read once.
  virtual Result<std::vector<HostObject>> inventory() = 0;

  virtual Result<Applied> apply(const Step& step) = 0;

  // Hints that something may have changed for the owner of this uid (a VMM ended, a link event, a job's end); "" means anything.
  // Called from any thread; only wakes queues. Set once, before use.
  virtual void on_hint(std::function<void(const std::string& uid)> callback) = 0;
};

}  // namespace banger::actuators
