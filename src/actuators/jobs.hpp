// SPDX-License-Identifier: Apache-2.0
// Long work, started by a step and observed by later passes. Jobs die with the daemon and are safe to start again.
#pragma once

#include <chrono>
#include <compare>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/image.hpp"
#include "api/virtual_machine.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators {

// A job is known by its owner and its name ("build", "initrd", "root-disk", "sync", "probe"); the nonce tells one request from
// the next.
struct JobKey {
  std::string owner_uid;
  std::string name;
  auto operator<=>(const JobKey&) const = default;
};

// Makes <image_dir>/base-<digest>.ext4 (0444) from a tar, or copies a raw ext4 file there after looking at its superblock. The
// digest is checked while reading. Result text: BuiltImage as JSON (image/build.hpp).
struct BuildImage {
  std::string image_uid;
  api::ImageSpec spec;
  bool operator==(const BuildImage&) const = default;
};

// Makes <kernel_dir>/initrd-<hash>: banger-init, busybox-free, and the virtio and ext4 modules below modules_dir with what they
// depend on. Result text: the path.
struct BuildInitrd {
  std::string kernel_uid;
  std::string modules_dir;  // empty: no modules
  bool operator==(const BuildInitrd&) const = default;
};

// Makes what the VM's root disk is kept in, synced. dm-snapshot: root.base, a hard link to base_path, and root.cow, preallocated
// to cow_size with its first chunk zero; the base file is extended by a hole to size when it is shorter. Else root.img from
// base_path (reflink or copy, sparse), at least size long. An existing one is grown (the guest grows its file system at the next
// boot), never shrunk, never made anew, never turned into another backend. auto: dm-snapshot where device-mapper works and has
// the snapshot target, else reflink, else copy. Result text: the backend used, then, for auto, ": " and why no better one was.
struct MakeRootDisk {
  std::string vm_uid;
  std::string base_path;
  Bytes size;      // of the disk; zero: that of the image
  Bytes cow_size;  // of root.cow; zero: default_cow_size
  api::DiskBackend backend = api::DiskBackend::Auto;
  bool present = false;  // as in MakeDataDisk
  bool operator==(const MakeRootDisk&) const = default;
};

// Makes an ext4 file system (label = disk name) of this size in disk-<name>.img, sparse. An existing one is grown (the guest
// grows its file system at the next boot), never shrunk, never made anew.
struct MakeDataDisk {
  std::string vm_uid;
  std::string disk;
  Bytes size;
  bool present =
      false;  // it was seen, so it is grown only; NotFound when it went since: an empty one in its place would hide that
  bool operator==(const MakeDataDisk&) const = default;
};

struct SshTarget {
  std::string address;
  std::int64_t port = 22;
  std::string user;
  std::string vm_uid;  // its known_hosts and our client key are used
  bool operator==(const SshTarget&) const = default;
};

// `sync` in the guest, then the nonce echoed after it. Dial limit 2 s, whole job 20 s. Result text: the nonce that came back; a
// job that fails says why (Unavailable: GuestUnreachable; Denied: authentication or host key).
struct SyncGuest {
  SshTarget target;
  std::string nonce;
  bool operator==(const SyncGuest&) const = default;
};

// Waits up to 1 s for an SSH banner. Result text: the banner.
struct ProbeSsh {
  SshTarget target;
  bool operator==(const ProbeSsh&) const = default;
};

using JobSpec = std::variant<BuildImage, BuildInitrd, MakeRootDisk, MakeDataDisk, SyncGuest, ProbeSsh>;

enum class JobState { Running, Done, Failed };

struct JobView {
  JobKey key;
  JobSpec spec;  // what was asked: a plan compares it with what it would ask now
  JobState state = JobState::Running;
  std::string result;                    // Done
  std::optional<Error> error;            // Failed
  std::chrono::milliseconds duration{};  // Running: so far
  bool operator==(const JobView&) const = default;
};

class Jobs {
 public:
  virtual ~Jobs() = default;
  // Unchanged (false) when the same spec runs or is done under this key; a different spec replaces a finished job and answers
  // Busy while the old one runs.
  virtual Result<bool> start(const JobKey& key, const JobSpec& spec) = 0;
  virtual std::vector<JobView> observe(const std::string& owner_uid) = 0;
  virtual bool forget(const JobKey& key) = 0;  // a running job is told to stop and its result dropped; false: there was none
  // Called from a job's thread when it ends. Set once, before the first start.
  virtual void on_finished(std::function<void(const JobKey&)> callback) = 0;
};

}  // namespace banger::actuators
