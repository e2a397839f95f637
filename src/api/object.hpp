// SPDX-License-Identifier: Apache-2.0
// Any object of the API: the envelope and one kind's spec and status.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "api/event.hpp"
#include "api/image.hpp"
#include "api/kernel.hpp"
#include "api/manifest_source.hpp"
#include "api/meta.hpp"
#include "api/network.hpp"
#include "api/virtual_machine.hpp"

namespace banger::api {

// Alternatives stand in the order of Kind.
using Body = std::variant<Network, Kernel, Image, VirtualMachine, AddressLease, ManifestSource, Event>;

struct Object {
  ObjectMeta meta;
  Body body;
  bool operator==(const Object&) const = default;
};

// The kind table: one row a kind, the only place that knows names, plurals and scope.
struct KindInfo {
  Kind kind;
  std::string_view name;        // "VirtualMachine"
  std::string_view plural;      // "virtualmachines"
  std::string_view singular;    // "virtualmachine"
  std::string_view short_name;  // "vm"; may be empty
  bool namespaced;
  bool user_writable;  // false: only the daemon writes it (leases, sources' status, events); manifests and create are refused
};

std::span<const KindInfo> kinds();
const KindInfo& info(Kind kind);
const KindInfo* find_kind(std::string_view name);          // exact Kind name
const KindInfo* find_resource(std::string_view resource);  // plural, singular, short name, or kind name in lower case

inline Kind kind_of(const Object& object) { return static_cast<Kind>(object.body.index()); }
ObjectKey key_of(const Object& object);
std::string to_string(const ObjectKey& key);  // "VirtualMachine default/web", "Network default"

}  // namespace banger::api
