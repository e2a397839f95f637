// SPDX-License-Identifier: Apache-2.0
#include "actuators/step.hpp"

#include <fmt/format.h>

#include <array>

#include "base/text.hpp"

namespace banger::actuators {
namespace {

constexpr std::array<std::string_view, std::variant_size_v<Step>> kNames{"MakeVmDirectory",
                                                                         "WriteSidecar",
                                                                         "WriteVmInitrd",
                                                                         "SyncDisks",
                                                                         "ActivateRootDisk",
                                                                         "GrowRootCow",
                                                                         "DeactivateRootDisk",
                                                                         "RemoveVmDirectory",
                                                                         "WriteRecord",
                                                                         "RemoveNetworkDirectory",
                                                                         "RemoveImageDirectory",
                                                                         "RemoveKernelDirectory",
                                                                         "MakeBridge",
                                                                         "MakeTap",
                                                                         "RemoveLink",
                                                                         "WriteNat",
                                                                         "RemoveNat",
                                                                         "LaunchVmm",
                                                                         "ResumeVmm",
                                                                         "KillVmm",
                                                                         "RemoveCgroup",
                                                                         "ClearRunDirectory",
                                                                         "StartJob",
                                                                         "ForgetJob"};

struct Describe {
  std::string operator()(const MakeVmDirectory& s) const { return s.vm_uid; }
  std::string operator()(const WriteSidecar& s) const { return s.sidecar.uid; }
  std::string operator()(const WriteVmInitrd& s) const { return fmt::format("{} from {}", s.vm_uid, s.base_initrd); }
  std::string operator()(const SyncDisks& s) const { return s.vm_uid; }
  std::string operator()(const ActivateRootDisk& s) const { return fmt::format("{} with {} bytes", s.vm_uid, s.size.value); }
  std::string operator()(const GrowRootCow& s) const { return fmt::format("{} to {} bytes", s.vm_uid, s.size.value); }
  std::string operator()(const DeactivateRootDisk& s) const { return s.vm_uid; }
  std::string operator()(const RemoveVmDirectory& s) const { return s.vm_uid; }
  std::string operator()(const WriteRecord& s) const { return api::to_string(api::key_of(s.record)); }
  std::string operator()(const RemoveNetworkDirectory& s) const { return s.network_uid; }
  std::string operator()(const RemoveImageDirectory& s) const { return s.image_uid; }
  std::string operator()(const RemoveKernelDirectory& s) const { return s.kernel_uid; }
  std::string operator()(const MakeBridge& s) const { return fmt::format("{} {}", s.name, s.address); }
  std::string operator()(const MakeTap& s) const { return fmt::format("{} on {}", s.name, s.bridge); }
  std::string operator()(const RemoveLink& s) const { return s.name; }
  std::string operator()(const WriteNat& s) const { return fmt::format("{} for {}", s.table, s.cidr); }
  std::string operator()(const RemoveNat& s) const { return s.table; }
  std::string operator()(const LaunchVmm& s) const {
    return fmt::format("{} with {} CPUs and {} MiB", s.vm_uid, s.cpus, s.memory.value >> 20U);
  }
  std::string operator()(const ResumeVmm& s) const { return s.vm_uid; }
  std::string operator()(const KillVmm& s) const { return s.vm_uid; }
  std::string operator()(const RemoveCgroup& s) const { return s.vm_uid; }
  std::string operator()(const ClearRunDirectory& s) const { return s.vm_uid; }
  std::string operator()(const StartJob& s) const { return s.key.name; }
  std::string operator()(const ForgetJob& s) const { return s.key.name; }
};

}  // namespace

std::string_view name_of(const Step& step) { return kNames.at(step.index()); }

std::string describe(const Step& step) { return printable(fmt::format("{} {}", name_of(step), std::visit(Describe{}, step))); }

}  // namespace banger::actuators
