// SPDX-License-Identifier: Apache-2.0
// KVM only where it can really run ordinary guests; else QEMU's own TCG. Opening /dev/kvm and every capability behind it succeed
// under kvm_pvm too, where ordinary guests abort: only the module's name tells.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace banger::actuators::vmm {

struct Accelerator {
  std::string name;    // "kvm" | "tcg"
  std::string reason;  // a sentence for status
  bool operator==(const Accelerator&) const = default;
};

struct KvmFacts {
  int open_errno = 0;          // of /dev/kvm, 0: it opens
  bool vendor_module = false;  // kvm_amd or kvm_intel in /sys/module
  bool operator==(const KvmFacts&) const = default;
};

KvmFacts look_at_kvm();

// wanted: "auto", "kvm" (also against the facts: configuration knows better) or "tcg". Invalid for anything else.
Result<Accelerator> choose_accelerator(std::string_view wanted, const KvmFacts& facts);

}  // namespace banger::actuators::vmm
