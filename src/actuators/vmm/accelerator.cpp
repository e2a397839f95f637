// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/accelerator.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {

KvmFacts look_at_kvm() {
  const UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  const int error = kvm.valid() ? 0 : errno;
  return {error, ::access("/sys/module/kvm_amd", F_OK) == 0 || ::access("/sys/module/kvm_intel", F_OK) == 0};
}

Result<Accelerator> choose_accelerator(std::string_view wanted, const KvmFacts& facts) {
  if (wanted == "kvm") return Accelerator{"kvm", "configured"};
  if (wanted == "tcg") return Accelerator{"tcg", "configured"};
  if (wanted != "auto") {
    return fail(invalid(fmt::format("accelerator \"{}\": expected auto, kvm or tcg", printable(wanted))));
  }
  if (facts.open_errno == ENOENT) return Accelerator{"tcg", "this host has no /dev/kvm"};
  if (facts.open_errno != 0) {
    return Accelerator{"tcg", fmt::format("/dev/kvm cannot be opened: {}", strerrordesc_np(facts.open_errno))};
  }
  if (!facts.vendor_module) {
    return Accelerator{"tcg", "/dev/kvm is there, but neither kvm_amd nor kvm_intel is loaded, so it cannot run ordinary guests"};
  }
  return Accelerator{"kvm", "/dev/kvm opens and the processor's KVM module is loaded"};
}

}  // namespace banger::actuators::vmm
