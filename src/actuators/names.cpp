// SPDX-License-Identifier: Apache-2.0
#include "actuators/names.hpp"

#include <fmt/format.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <net/if.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>

#include "base/inet.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::actuators {
namespace {

constexpr std::string_view kAliasPrefix = "banger:uid=";
constexpr std::string_view kCgroupPrefix = "vm-";
constexpr std::string_view kDmUuidPrefix = "BANGER-";
constexpr std::string_view kDmUuidSuffix = "-root";

// A uid has 36 characters; each name with its terminating zero.
constexpr std::size_t kUidLength = 36;
static_assert(kDmUuidPrefix.size() + kUidLength + kDmUuidSuffix.size() < DM_NAME_LEN);
static_assert(kDmUuidPrefix.size() + kUidLength + 1 <= LO_NAME_SIZE);

// The first 64 bits of the uid. Version and variant bits (48..51, 64..65) make two of its digits constant; they come after the 40
// + 10 bits that short_id takes, but for bits 48 and 49.
std::uint64_t leading_bits(std::string_view uid) {
  if (!is_uid(uid)) std::abort();
  std::uint64_t value = 0;
  for (const char c : uid.substr(0, 18)) {
    if (c == '-') continue;
    value = (value << 4U) | static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return value;
}

}  // namespace

std::string short_id(std::string_view uid) { return base32(leading_bits(uid), 10); }

// 3 + 10 + 1 + 1 characters and the terminating zero fill IFNAMSIZ exactly.
static_assert(3 + 10 + 1 + 1 + 1 == IFNAMSIZ);

std::string tap_name(std::string_view vm_uid, std::size_t index) {
  if (index > 7) std::abort();
  return fmt::format("bgr{}-{}", short_id(vm_uid), index);
}

std::string bridge_name(std::string_view network_uid) { return "bgb" + short_id(network_uid); }

std::string link_alias(std::string_view uid) {
  if (!is_uid(uid)) std::abort();
  return fmt::format("{}{}", kAliasPrefix, uid);
}

std::optional<std::string> uid_of_alias(std::string_view alias) {
  if (!alias.starts_with(kAliasPrefix)) return std::nullopt;
  alias.remove_prefix(kAliasPrefix.size());
  if (!is_uid(alias)) return std::nullopt;
  return std::string(alias);
}

std::string nat_table_name(std::string_view network_uid) { return "banger-" + short_id(network_uid); }
std::string nat_comment(std::string_view network_uid) { return link_alias(network_uid); }

std::string cgroup_name(std::string_view vm_uid) {
  if (!is_uid(vm_uid)) std::abort();
  return fmt::format("banger.slice/{}{}", kCgroupPrefix, vm_uid);
}

std::optional<std::string> uid_of_cgroup(std::string_view path) {
  const auto slash = path.rfind('/');
  auto last = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (!last.starts_with(kCgroupPrefix)) return std::nullopt;
  last.remove_prefix(kCgroupPrefix.size());
  if (!is_uid(last)) return std::nullopt;
  return std::string(last);
}

std::string dm_name(std::string_view vm_uid) {
  if (!is_uid(vm_uid)) std::abort();
  return fmt::format("banger-{}-root", vm_uid);
}
std::string dm_uuid(std::string_view vm_uid) {
  if (!is_uid(vm_uid)) std::abort();
  return fmt::format("{}{}{}", kDmUuidPrefix, vm_uid, kDmUuidSuffix);
}
std::optional<std::string> uid_of_dm_uuid(std::string_view uuid) {
  if (!uuid.starts_with(kDmUuidPrefix) || !uuid.ends_with(kDmUuidSuffix)) return std::nullopt;
  uuid.remove_prefix(kDmUuidPrefix.size());
  uuid.remove_suffix(kDmUuidSuffix.size());
  if (!is_uid(uuid)) return std::nullopt;
  return std::string(uuid);
}
std::string cow_loop_label(std::string_view vm_uid) {
  if (!is_uid(vm_uid)) std::abort();
  return fmt::format("banger:{}", vm_uid);
}

std::string mac_of(std::string_view vm_uid, std::size_t index) {
  if (index > 7) std::abort();
  const auto bits = leading_bits(vm_uid);
  Mac mac;
  mac.octets[0] = static_cast<std::uint8_t>(0x02U | (index << 4U));  // locally administered, unicast
  for (unsigned i = 0; i < 5; ++i) mac.octets[i + 1] = static_cast<std::uint8_t>(bits >> (56U - 8U * i));
  return to_string(mac);
}

std::filesystem::path vm_dir(const Layout& layout, std::string_view vm_uid) {
  if (!is_uid(vm_uid)) std::abort();
  return layout.state_dir / "vms" / vm_uid;
}
std::filesystem::path sidecar_path(const Layout& layout, std::string_view vm_uid) { return vm_dir(layout, vm_uid) / "vm.json"; }
std::filesystem::path root_disk_path(const Layout& layout, std::string_view vm_uid) {
  return vm_dir(layout, vm_uid) / "root.img";
}
std::filesystem::path root_cow_path(const Layout& layout, std::string_view vm_uid) { return vm_dir(layout, vm_uid) / "root.cow"; }
std::filesystem::path root_base_path(const Layout& layout, std::string_view vm_uid) {
  return vm_dir(layout, vm_uid) / "root.base";
}
std::filesystem::path dm_device_path(std::string_view vm_uid) { return std::filesystem::path("/dev/mapper") / dm_name(vm_uid); }
std::filesystem::path data_disk_path(const Layout& layout, std::string_view vm_uid, std::string_view disk) {
  // The schema admits DNS labels only; a slash here would leave the VM's directory.
  if (disk.empty() || disk.find('/') != std::string_view::npos) std::abort();
  return vm_dir(layout, vm_uid) / fmt::format("disk-{}.img", disk);
}
std::filesystem::path vm_initrd_path(const Layout& layout, std::string_view vm_uid) { return vm_dir(layout, vm_uid) / "initrd"; }
std::filesystem::path host_key_path(const Layout& layout, std::string_view vm_uid) { return vm_dir(layout, vm_uid) / "host_key"; }
std::filesystem::path known_hosts_path(const Layout& layout, std::string_view vm_uid) {
  return vm_dir(layout, vm_uid) / "known_hosts";
}
std::filesystem::path serial_log_path(const Layout& layout, std::string_view vm_uid) {
  return vm_dir(layout, vm_uid) / "serial.log";
}
std::filesystem::path vm_run_dir(const Layout& layout, std::string_view vm_uid) {
  return layout.run_dir / "vm" / short_id(vm_uid);
}
std::filesystem::path monitor_socket_path(const Layout& layout, std::string_view vm_uid) {
  return vm_run_dir(layout, vm_uid) / "qmp.sock";
}
std::filesystem::path exit_record_path(const Layout& layout, std::string_view vm_uid) {
  return vm_run_dir(layout, vm_uid) / "exit.json";
}
std::filesystem::path vmm_log_path(const Layout& layout, std::string_view vm_uid) {
  return vm_run_dir(layout, vm_uid) / "vmm.log";
}

std::filesystem::path image_dir(const Layout& layout, std::string_view image_uid) {
  if (!is_uid(image_uid)) std::abort();
  return layout.state_dir / "images" / image_uid;
}
std::filesystem::path kernel_dir(const Layout& layout, std::string_view kernel_uid) {
  if (!is_uid(kernel_uid)) std::abort();
  return layout.state_dir / "kernels" / kernel_uid;
}
std::filesystem::path client_key_path(const Layout& layout) { return layout.state_dir / "ssh" / "id_ed25519"; }

}  // namespace banger::actuators
