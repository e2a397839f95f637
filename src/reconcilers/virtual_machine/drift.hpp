// SPDX-License-Identifier: Apache-2.0
// Which VMs a resync has to send to a pass. Plans again only where something is other than when the plan last changed nothing.
//
// A plan looks at the object, the VM's view of the host, the Image, Kernel, Networks and leases around it, and the time. What the
// time alone brings about (a backoff that ends, a start that takes too long) each pass asks for itself, by when it wants to look
// again; a plan that wants that soon is not relied on here.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/shared.hpp"
#include "store/objects.hpp"

namespace banger::reconcilers::virtual_machine {

class Drift {
 public:
  explicit Drift(actuators::Layout layout) : layout_(std::move(layout)) {}

  std::vector<api::ObjectKey> find(store::Objects& objects, const actuators::HostView& host, WallTime now);

 private:
  struct Calm {  // the plan for these changed nothing
    std::uint64_t resource_version = 0;
    std::optional<Shared<actuators::VmView>> view;  // absent: nothing of it on the host
    bool operator==(const Calm&) const = default;
  };

  struct Memory {
    std::uint64_t around = 0;                    // the versions of everything that plans look at beside the VMs, as one number
    std::unordered_map<std::string, Calm> calm;  // by uid
  };
  Memory take(std::uint64_t around);  // empty where the surroundings are others now
  void keep(Memory memory);

  const actuators::Layout layout_;
  std::mutex mutex_;
  Memory memory_;
};

}  // namespace banger::reconcilers::virtual_machine
