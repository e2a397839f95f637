// SPDX-License-Identifier: Apache-2.0
#include "api/object.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace banger::api {
namespace {

constexpr std::array kKinds{
    KindInfo{.kind = Kind::Network,
             .name = "Network",
             .plural = "networks",
             .singular = "network",
             .short_name = "net",
             .namespaced = false,
             .user_writable = true},
    KindInfo{.kind = Kind::Kernel,
             .name = "Kernel",
             .plural = "kernels",
             .singular = "kernel",
             .short_name = "",
             .namespaced = false,
             .user_writable = true},
    KindInfo{.kind = Kind::Image,
             .name = "Image",
             .plural = "images",
             .singular = "image",
             .short_name = "img",
             .namespaced = false,
             .user_writable = true},
    KindInfo{.kind = Kind::VirtualMachine,
             .name = "VirtualMachine",
             .plural = "virtualmachines",
             .singular = "virtualmachine",
             .short_name = "vm",
             .namespaced = true,
             .user_writable = true},
    KindInfo{.kind = Kind::AddressLease,
             .name = "AddressLease",
             .plural = "addressleases",
             .singular = "addresslease",
             .short_name = "lease",
             .namespaced = false,
             .user_writable = false},
    KindInfo{.kind = Kind::ManifestSource,
             .name = "ManifestSource",
             .plural = "manifestsources",
             .singular = "manifestsource",
             .short_name = "sources",
             .namespaced = false,
             .user_writable = false},
    KindInfo{.kind = Kind::Event,
             .name = "Event",
             .plural = "events",
             .singular = "event",
             .short_name = "ev",
             .namespaced = true,
             .user_writable = false},
};

constexpr bool in_order_of_kind() {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (static_cast<std::size_t>(kKinds[i].kind) != i) return false;
  }
  return kKinds.size() == std::variant_size_v<Body>;
}
static_assert(in_order_of_kind());

}  // namespace

std::span<const KindInfo> kinds() { return kKinds; }

const KindInfo& info(Kind kind) { return kKinds.at(static_cast<std::size_t>(kind)); }

const KindInfo* find_kind(std::string_view name) {
  const auto found = std::ranges::find(kKinds, name, &KindInfo::name);
  return found == kKinds.end() ? nullptr : &*found;
}

const KindInfo* find_resource(std::string_view resource) {
  if (resource.empty()) return nullptr;
  if (resource == "source") return &info(Kind::ManifestSource);
  // The singular is the kind's name in lower case.
  const auto found = std::ranges::find_if(kKinds, [&](const KindInfo& row) {
    return resource == row.plural || resource == row.singular || resource == row.short_name;
  });
  return found == kKinds.end() ? nullptr : &*found;
}

ObjectKey key_of(const Object& object) { return {.kind = kind_of(object), .ns = object.meta.ns, .name = object.meta.name}; }

std::string to_string(const ObjectKey& key) {
  std::string text(info(key.kind).name);
  text += ' ';
  if (!key.ns.empty()) text += key.ns + '/';
  return text + key.name;
}

}  // namespace banger::api
