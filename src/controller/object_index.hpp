// SPDX-License-Identifier: Apache-2.0
// What the runtime remembers of stored objects, from the store's own changes: whose uid is whose, the networks, the VMs' phases.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "api/object.hpp"
#include "store/store.hpp"

namespace banger::controller {

// Thread-safe. A cache of names only: reconcilers read the store itself.
class ObjectIndex {
 public:
  void apply(const store::Change& change);

  // Everything anew. Returns the keys that were known and are no more.
  std::vector<api::ObjectKey> rebuild(const std::vector<api::Object>& objects);

  [[nodiscard]] std::optional<api::ObjectKey> find(const std::string& uid) const;
  [[nodiscard]] std::vector<actuators::NetworkQuery> networks() const;  // what observe_all asks for
  // "Unknown" before the first status. Phases that were answered once and are empty now stay, with 0.
  std::map<std::string, std::size_t> vm_phases();

 private:
  struct Entry {
    std::string uid;
    std::string bridge;  // of a network
    std::string phase;   // of a VM
  };
  static Entry entry_of(const api::Object& object);

  mutable std::mutex mutex_;
  std::map<api::ObjectKey, Entry> entries_;
  std::map<std::string, api::ObjectKey> by_uid_;
  std::set<std::string> phases_;
};

}  // namespace banger::controller
