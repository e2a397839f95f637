// SPDX-License-Identifier: Apache-2.0
// Rules that relate several fields, or an object to what it was.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <set>

#include "api/check.hpp"
#include "api/encode.hpp"
#include "api/rows.hpp"
#include "base/inet.hpp"

namespace banger::api::schema {
namespace {

bool is_below(std::string_view path, std::string_view directory) {
  return path == directory || (path.starts_with(directory) && path.substr(directory.size()).starts_with('/'));
}

void check_mounts(const VirtualMachineSpec& spec, std::vector<Refusal>& refusals) {
  static constexpr std::array<std::string_view, 3> kKernelTrees{"/proc", "/sys", "/dev"};
  std::map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < spec.disks.size(); ++i) {
    const std::string_view path = spec.disks[i].mount_path;
    if (path.empty()) continue;
    auto field = fmt::format("spec.disks[{}].mountPath", i);
    const bool reserved = std::ranges::any_of(kKernelTrees, [&](std::string_view tree) { return is_below(path, tree); });
    if (path == "/" || reserved) {
      refuse(refusals, std::move(field), "FieldValueInvalid",
             fmt::format("must not be /, nor in /proc, /sys or /dev, is {}", shown(path)));
      continue;
    }
    const auto [first, added] = seen.emplace(path, i);
    if (added) continue;
    refuse(refusals, std::move(field), "FieldValueDuplicate",
           fmt::format("{} is already the mountPath of spec.disks[{}]", shown(path), first->second));
  }
}

void check_interfaces(const VirtualMachineSpec& spec, std::vector<Refusal>& refusals) {
  std::map<std::pair<std::string, std::string>, std::size_t> seen;
  for (std::size_t i = 0; i < spec.network_interfaces.size(); ++i) {
    const auto& nic = spec.network_interfaces[i];
    if (!nic.address) continue;
    const auto [first, added] = seen.emplace(std::pair(nic.network, *nic.address), i);
    if (added) continue;
    refuse(refusals, fmt::format("spec.networkInterfaces[{}].address", i), "FieldValueDuplicate",
           fmt::format("{} is already the address of spec.networkInterfaces[{}]", shown(*nic.address), first->second));
  }
}

void check_kind(const VirtualMachine& vm, const ObjectMeta&, std::vector<Refusal>& refusals) {
  check_mounts(vm.spec, refusals);
  check_interfaces(vm.spec, refusals);
  for (std::size_t i = 0; i < vm.spec.files.size(); ++i) {
    if (vm.spec.files[i].path == "/") {
      refuse(refusals, fmt::format("spec.files[{}].path", i), "FieldValueInvalid", "must name a file, is the root directory");
    }
  }
}

// Ranges whose addresses mean something else on every host: a bridge that bears one would break the host or reach nobody.
void check_range(const NetworkSpec& spec, std::vector<Refusal>& refusals) {
  struct Reserved {
    Cidr range;
    std::string_view use;
  };
  static constexpr Reserved kReserved[] = {{{{0x00000000}, 8}, "\"this network\""},
                                           {{{0x7f000000}, 8}, "loopback"},
                                           {{{0xa9fe0000}, 16}, "link-local addresses"},
                                           {{{0xe0000000}, 4}, "multicast"},
                                           {{{0xf0000000}, 4}, "future use"}};
  const auto cidr = parse_cidr(spec.cidr);
  if (!cidr) return;  // absent, or reported by the rows
  for (const auto& [range, use] : kReserved) {
    if (!overlaps(range, *cidr)) continue;
    refuse(refusals, "spec.cidr", "FieldValueInvalid",
           fmt::format("must not touch {}, which is reserved for {}, is {}; take one such as 10.64.1.0/24", to_string(range), use,
                       spec.cidr));
  }
}

void check_kind(const Network& network, const ObjectMeta&, std::vector<Refusal>& refusals) {
  const auto& spec = network.spec;
  check_range(spec, refusals);
  if (spec.gateway.empty()) return;
  if (spec.cidr.empty()) {
    refuse(refusals, "spec.gateway", "FieldValueForbidden", "needs spec.cidr: without it the addresses are not known beforehand");
    return;
  }
  const auto cidr = parse_cidr(spec.cidr);
  const auto gateway = parse_ipv4(spec.gateway);
  if (!cidr || !gateway) return;  // reported by the rows
  const auto last = Ipv4{cidr->address.value | ~netmask(cidr->prefix)};
  if (!contains(*cidr, *gateway) || *gateway == cidr->address || *gateway == last) {
    refuse(refusals, "spec.gateway", "FieldValueInvalid",
           fmt::format("must be an address inside {} other than the first ({}) and the last ({}), is {}", spec.cidr,
                       to_string(cidr->address), to_string(last), spec.gateway));
  }
}

void check_kind(const Kernel& kernel, const ObjectMeta&, std::vector<Refusal>& refusals) {
  const auto& spec = kernel.spec;
  if (spec.source == KernelSource::File) {
    if (spec.path.empty()) refuse(refusals, "spec.path", "FieldValueRequired", "is required with source File");
    return;
  }
  const auto forbid = [&](const std::string& value, std::string_view field) {
    if (value.empty()) return;
    refuse(refusals, fmt::format("spec.{}", field), "FieldValueForbidden",
           "cannot stand with source HostPackage, which takes it from the host's kernel package; remove it");
  };
  forbid(spec.path, "path");
  forbid(spec.initrd, "initrd");
  forbid(spec.modules_dir, "modulesDir");
}

void check_kind(const Image& image, const ObjectMeta&, std::vector<Refusal>& refusals) {
  if (image.spec.format == ImageFormat::Raw && image.spec.size) {
    refuse(refusals, "spec.size", "FieldValueForbidden", "cannot stand with format raw: the file has its size; remove it");
  }
}

void check_kind(const AddressLease& lease, const ObjectMeta& meta, std::vector<Refusal>& refusals) {
  const auto expected = fmt::format("{}.{}", lease.spec.network, lease.spec.address);
  if (meta.name != expected) {
    refuse(refusals, "metadata.name", "FieldValueInvalid", fmt::format("must be {}, is {}", shown(expected), shown(meta.name)));
  }
}

void check_kind(const ManifestSource&, const ObjectMeta&, std::vector<Refusal>&) {}
void check_kind(const Event&, const ObjectMeta&, std::vector<Refusal>&) {}

constexpr std::string_view kUnset = "unset";

std::string text_of(const Field& field, const void* value) {
  if (value == nullptr) return std::string(kUnset);
  const auto text = boost::json::serialize(encode_value(field.member.type(), &field, value));
  return text == "\"\"" ? std::string(kUnset) : text;
}

const Field* find_field(std::span<const Field> fields, std::string_view name) {
  const auto found = std::ranges::find(fields, name, &Field::name);
  return found == fields.end() ? nullptr : &*found;
}

// What was left to the daemon may be written down later: while nothing was chosen (no range was free), or as it was chosen.
bool settles(const Object& old, const Field& field, const std::string& from, const std::string& to) {
  if (from != kUnset) return false;
  const auto* status = find_field(body_fields(kind_of(old)), "status");
  const auto* chosen = status == nullptr ? nullptr : find_field(status->member.type().fields(), field.name);
  if (chosen == nullptr) return false;
  const auto text = text_of(*chosen, chosen->member.get(status->member.get(body_address(old.body))));
  return text == kUnset || text == to;
}

// Fields of one struct that may not change and did. old: the object that before belongs to.
void check_immutable(const Object& old, std::span<const Field> fields, const void* before_owner, const void* after_owner,
                     const std::string& path, std::vector<Refusal>& refusals) {
  for (const auto& field : fields) {
    const auto* before = field.member.get(before_owner);
    const auto* after = field.member.get(after_owner);
    auto here = fmt::format("{}.{}", path, field.name);
    if (field.member.type().shape == Shape::Struct && before != nullptr && after != nullptr) {
      check_immutable(old, field.member.type().fields(), before, after, here, refusals);
      continue;
    }
    if (field.update != UpdateClass::Immutable) continue;
    const auto from = text_of(field, before);
    const auto to = text_of(field, after);
    if (from == to || settles(old, field, from, to)) continue;
    refuse(refusals, std::move(here), "FieldValueForbidden",
           fmt::format("cannot be changed from {} to {}; delete the object and create it again", from, to));
  }
}

void check_sizes(const VirtualMachineSpec& old, const VirtualMachineSpec& now, std::vector<Refusal>& refusals) {
  const auto shrinks = [&](std::string field, Bytes from, const std::string& to) {
    refuse(refusals, std::move(field), "FieldValueForbidden",
           fmt::format("cannot shrink from {} to {}: disks only grow, so that no data is cut off", format_quantity(from), to));
  };
  const auto& before = old.root_disk.size;
  const auto& after = now.root_disk.size;
  if (before && !after) shrinks("spec.rootDisk.size", *before, "the image's size");
  if (before && after && *after < *before) shrinks("spec.rootDisk.size", *before, format_quantity(*after));
  for (std::size_t i = 0; i < now.disks.size(); ++i) {
    const auto& disk = now.disks[i];
    const auto same = std::ranges::find(old.disks, disk.name, &DataDiskSpec::name);
    if (same == old.disks.end() || disk.size >= same->size) continue;
    shrinks(fmt::format("spec.disks[{}].size", i), same->size, format_quantity(disk.size));
  }
}

}  // namespace

void check_rules(const Object& object, std::vector<Refusal>& refusals) {
  std::visit([&](const auto& body) { check_kind(body, object.meta, refusals); }, object.body);
}

void check_change(const Object& old, const Object& object, std::vector<Refusal>& refusals) {
  if (const auto* spec = find_field(body_fields(kind_of(object)), "spec")) {
    check_immutable(old, spec->member.type().fields(), spec->member.get(body_address(old.body)),
                    spec->member.get(body_address(object.body)), "spec", refusals);
  }
  const auto* before = std::get_if<VirtualMachine>(&old.body);
  const auto* after = std::get_if<VirtualMachine>(&object.body);
  if (before != nullptr && after != nullptr) check_sizes(before->spec, after->spec, refusals);
}

}  // namespace banger::api::schema

namespace banger::api {

std::vector<Refusal> validate(const Object& object, const Object* old) {
  std::vector<Refusal> refusals;
  schema::check_object(object, refusals);
  schema::check_rules(object, refusals);
  if (old != nullptr && kind_of(*old) == kind_of(object)) schema::check_change(*old, object, refusals);
  return refusals;
}

}  // namespace banger::api
