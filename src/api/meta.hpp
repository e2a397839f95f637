// SPDX-License-Identifier: Apache-2.0
// The Kubernetes object envelope: keys, metadata, conditions.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"

namespace banger::api {

inline constexpr std::string_view kGroup = "banger.dev";
inline constexpr std::string_view kVersion = "v1alpha1";
inline constexpr std::string_view kApiVersion = "banger.dev/v1alpha1";
inline constexpr std::string_view kDefaultNamespace = "default";

// Order matters: it is the order in which a manifest directory is applied.
enum class Kind { Network, Kernel, Image, VirtualMachine, AddressLease, ManifestSource, Event };

struct ObjectKey {
  Kind kind = Kind::VirtualMachine;
  std::string ns;  // empty for kinds that are not namespaced
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
};

struct OwnerReference {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  bool operator==(const OwnerReference&) const = default;
};

struct ObjectMeta {
  std::string name;
  std::string ns;                      // metadata.namespace
  std::string uid;                     // UUIDv4, given at creation
  std::uint64_t resource_version = 0;  // the store's revision of the last change; 0: never stored
  std::uint64_t generation = 0;        // 1 at creation, +1 when the spec changes and when deletion begins
  std::optional<WallTime> creation_time;
  std::optional<WallTime> deletion_time;  // set: the object is being deleted, finalizers decide when it goes
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<std::string> finalizers;
  std::vector<OwnerReference> owner_references;
  bool operator==(const ObjectMeta&) const = default;
};

enum class ConditionStatus { True, False, Unknown };

struct Condition {
  std::string type;
  ConditionStatus status = ConditionStatus::Unknown;
  std::string reason;   // CamelCase, never empty
  std::string message;  // a sentence for people
  std::uint64_t observed_generation = 0;
  std::optional<WallTime> last_transition_time;  // when status last changed, not reason or message
  bool operator==(const Condition&) const = default;
};

// One object of the host's kernel or file system beside what should be of it: a row of `bangerctl describe`.
struct KernelObjectStatus {
  std::string type;      // process | cgroup | tap | file | bridge | nft table
  std::string name;      // as other tools show it; empty while it has none
  std::string desired;   // present | absent
  std::string observed;  // present | absent | foreign: something of that name that is not ours
  std::string detail;
  bool operator==(const KernelObjectStatus&) const = default;
};

const Condition* find_condition(const std::vector<Condition>& conditions, std::string_view type);

// Sets or adds the condition of next.type. last_transition_time is kept where the status is the same, else becomes now.
void set_condition(std::vector<Condition>& conditions, Condition next, WallTime now);

}  // namespace banger::api
