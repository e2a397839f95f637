// SPDX-License-Identifier: Apache-2.0
// Kind Kernel: what boots a VM.
#pragma once

#include <string>
#include <vector>

#include "api/meta.hpp"

namespace banger::api {

enum class KernelSource { HostPackage, File };  // YAML: HostPackage, File

struct KernelSpec {
  KernelSource source = KernelSource::File;
  std::string path;               // File: absolute path of a vmlinux or bzImage
  std::string initrd;             // absolute path; empty: generated from modules
  std::string modules_dir;        // /lib/modules/<version>; empty: the kernel has what it needs built in
  std::vector<std::string> args;  // the guest's command line, before the VM's kernelArgs
  bool operator==(const KernelSpec&) const = default;
};

struct KernelStatus {
  std::uint64_t observed_generation = 0;
  std::vector<Condition> conditions;  // Ready
  std::string version;                // "6.1.0-56-cloud-amd64"
  std::string path;
  std::string initrd;  // generated or given
  bool operator==(const KernelStatus&) const = default;
};

struct Kernel {
  KernelSpec spec;
  KernelStatus status;
  bool operator==(const Kernel&) const = default;
};

}  // namespace banger::api
