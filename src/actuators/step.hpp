// SPDX-License-Identifier: Apache-2.0
// Every mutation that this program can do to a host, as one variant of values. apply(step) (host.hpp) is idempotent: it looks
// first and answers Unchanged when the post-condition already holds. A step never touches an object that bears the name but not
// the label: it answers Conflict ("NameConflict: …").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "actuators/jobs.hpp"
#include "actuators/sidecar.hpp"
#include "api/object.hpp"
#include "base/units.hpp"

namespace banger::actuators {

// --- files of a VM ---------------------------------------------------------------------------------------------------------
struct MakeVmDirectory {  // <state>/vms/<uid> 0700 with a host key (ed25519) and known_hosts in it
  std::string vm_uid;
  std::vector<std::string> addresses;  // under which known_hosts pins the host key
  std::int64_t port = 22;
  bool operator==(const MakeVmDirectory&) const = default;
};
struct WriteSidecar {
  Sidecar sidecar;
  bool operator==(const WriteSidecar&) const = default;
};
struct GuestMount {
  std::string disk;  // serial number of the virtio disk
  std::string path;  // empty: only its file system is grown
  bool operator==(const GuestMount&) const = default;
};
struct GuestNic {
  std::string mac;
  std::string address;  // "10.1.2.3/24"
  std::string gateway;
  bool operator==(const GuestNic&) const = default;
};
struct GuestConfig {  // what the host hands to banger-init
  std::string hostname;
  std::vector<GuestNic> nics;
  std::vector<std::string> nameservers;
  std::vector<GuestMount> mounts;
  std::string ssh_user;                      // empty: no keys are installed
  std::vector<std::string> authorized_keys;  // ours is added by the actuator
  std::vector<api::GuestFileSpec> files;
  bool operator==(const GuestConfig&) const = default;
};
struct WriteVmInitrd {  // <vm_dir>/initrd (0600) = the kernel's initrd + an archive with the configuration
  std::string vm_uid;
  std::string base_initrd;
  GuestConfig config;
  bool operator==(const WriteVmInitrd&) const = default;
};
struct SyncDisks {  // fsync of the VM's disk files: after the VMM is gone, before the stop is called clean
  std::string vm_uid;
  bool operator==(const SyncDisks&) const = default;
};
// --- the root disk as a dm-snapshot --------------------------------------------------------------------------------------------
// A loop over root.base (read-only, one for all VMs of that file: found by device and inode, AUTOCLEAR), a loop over root.cow
// (labelled, AUTOCLEAR), and the node dm_name with uuid dm_uuid over them: "snapshot <base> <cow> PO 128", size long. Repairs
// what is half there: a node of ours without a live table or with another one is loaded anew (when nobody has it open), a
// suspended one resumed. Conflict: a node of that name with another uuid, or somebody else's loop over root.cow. Unavailable: no
// free loop, no device-mapper; Busy: lost a race for a loop, come again. After it no fd of ours is left open: what holds the
// loops is the node.
struct ActivateRootDisk {
  std::string vm_uid;
  Bytes size;  // of the disk; a whole number of 4 KiB
  bool operator==(const ActivateRootDisk&) const = default;
};
struct GrowRootCow {  // root.cow preallocated to this size and the loop over it told; never shrinks. Unavailable: disk full
  std::string vm_uid;
  Bytes size;
  bool operator==(const GrowRootCow&) const = default;
};
struct DeactivateRootDisk {  // the node goes, and with it the loops that nobody else holds. Busy while it is open
  std::string vm_uid;
  bool operator==(const DeactivateRootDisk&) const = default;
};

struct RemoveVmDirectory {  // disks and all. Refused (Busy) while the VM's cgroup is populated
  std::string vm_uid;
  bool operator==(const RemoveVmDirectory&) const = default;
};
// <state>/{networks,images,kernels}/<uid>/object.json, the directory made if need be. Denied: the directory is not ours alone.
struct WriteRecord {
  api::Object record;  // record_of() of a Network, an Image or a Kernel
  bool operator==(const WriteRecord&) const = default;
};
struct RemoveNetworkDirectory {
  std::string network_uid;
  bool operator==(const RemoveNetworkDirectory&) const = default;
};
struct RemoveImageDirectory {
  std::string image_uid;
  bool operator==(const RemoveImageDirectory&) const = default;
};
struct RemoveKernelDirectory {
  std::string kernel_uid;
  bool operator==(const RemoveKernelDirectory&) const = default;
};

// A step on an object that has the owner's label already does not rewrite the label for the name in it.
// --- links -----------------------------------------------------------------------------------------------------------------
struct MakeBridge {  // made, labelled, addressed, up; an address of ours that is not this one is removed
  std::string network_uid;
  std::string name;
  std::string address;  // "10.1.2.1/24"
  std::int64_t mtu = 1500;
  std::optional<api::ObjectKey> of{};  // for the label: whose it is by name
  bool operator==(const MakeBridge&) const = default;
};
struct MakeTap {  // persistent tap, labelled, on the bridge, up. Busy: the one of this name is about to go
  std::string vm_uid;
  std::string name;
  std::string bridge;
  std::int64_t mtu = 1500;
  std::optional<api::ObjectKey> of{};
  bool operator==(const MakeTap&) const = default;
};
// Only if its label is owner_uid's. A tap is noted, and gone a moment later (LinkView.leaving; its owner is hinted then): the
// kernel is far quicker with many at a time. Unchanged: absent, or noted already. When it could not go, the next step says why.
struct RemoveLink {
  std::string owner_uid;
  std::string name;
  bool operator==(const RemoveLink&) const = default;
};

// --- address translation ---------------------------------------------------------------------------------------------------
struct WriteNat {  // the network's own table, replaced whole in one transaction; forwarding is switched on in the host
  std::string network_uid;
  std::string table;
  std::string bridge;
  std::string cidr;
  std::optional<api::ObjectKey> of{};
  bool operator==(const WriteNat&) const = default;
};
struct RemoveNat {
  std::string network_uid;
  std::string table;
  bool operator==(const RemoveNat&) const = default;
};

// --- the VMM ---------------------------------------------------------------------------------------------------------------
struct VmmDisk {
  std::string name;       // serial number in the guest: "root" or the data disk's
  std::string path;       // a file, or the block device of an active dm-snapshot
  std::string lock_path;  // whose lock says that the disk is in use; empty: path itself. For a dm-snapshot its root.cow
  bool operator==(const VmmDisk&) const = default;
};
struct VmmNic {
  std::string tap;
  std::string mac;
  std::int64_t mtu = 1500;  // that the guest is told
  bool operator==(const VmmNic&) const = default;
};
struct LaunchVmm {  // cgroup, run directory, shim, VMM. Refused (Busy) while the cgroup is populated or a disk is locked
  std::string vm_uid;
  std::string vm_ns{};  // the namespace and the name are shown by the process, no more
  std::string vm_name;
  std::int64_t cpus = 1;
  Bytes memory;
  std::string kernel_path;
  std::string initrd_path;
  std::vector<std::string> kernel_args;  // all of them; the driver adds only what its machine needs (console, reboot, tsc)
  std::vector<VmmDisk> disks;            // the root disk first
  std::vector<VmmNic> nics;
  bool operator==(const LaunchVmm&) const = default;
};
struct ResumeVmm {  // a guest that QEMU paused at a failed write (run state io-error) tries it again; in any other state:
                    // Unchanged
  std::string vm_uid;
  bool operator==(const ResumeVmm&) const = default;
};
struct KillVmm {  // every process in the VM's cgroup, at once; does not wait
  std::string vm_uid;
  bool operator==(const KillVmm&) const = default;
};
struct RemoveCgroup {  // Busy while populated
  std::string vm_uid;
  bool operator==(const RemoveCgroup&) const = default;
};
struct ClearRunDirectory {  // sockets, exit record. Busy while the cgroup is populated
  std::string vm_uid;
  bool operator==(const ClearRunDirectory&) const = default;
};

// --- jobs ------------------------------------------------------------------------------------------------------------------
struct StartJob {
  JobKey key;
  JobSpec spec;
  bool operator==(const StartJob&) const = default;
};
struct ForgetJob {
  JobKey key;
  bool operator==(const ForgetJob&) const = default;
};

using Step = std::variant<MakeVmDirectory, WriteSidecar, WriteVmInitrd, SyncDisks, ActivateRootDisk, GrowRootCow,
                          DeactivateRootDisk, RemoveVmDirectory, WriteRecord, RemoveNetworkDirectory, RemoveImageDirectory,
                          RemoveKernelDirectory, MakeBridge, MakeTap, RemoveLink, WriteNat, RemoveNat, LaunchVmm, ResumeVmm,
                          KillVmm, RemoveCgroup, ClearRunDirectory, StartJob, ForgetJob>;

enum class Applied { Unchanged, Changed };

std::string_view name_of(const Step& step);  // "MakeTap"; for a job "StartJob"
std::string describe(const Step& step);      // "MakeTap bgr…-0 on bgb…": for people, one line, printable

}  // namespace banger::actuators
