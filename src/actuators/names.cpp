// SPDX-License-Identifier: Apache-2.0
#include "actuators/names.hpp"

#include <fmt/format.h>
#include <linux/dm-ioctl.h>
#include <linux/if.h>
#include <linux/loop.h>
#include <linux/netfilter/nf_tables.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "api/object.hpp"
#include "base/inet.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::actuators {
namespace {

constexpr std::string_view kUidWord = "banger:uid=";
constexpr std::string_view kInstanceWord = "by=";
constexpr std::string_view kOfWord = "of=";
constexpr std::string_view kCgroupPrefix = "vm-";
constexpr std::string_view kDmUuidPrefix = "BANGER-";
constexpr std::string_view kDmUuidSuffix = "-root";
constexpr std::string_view kLoopLabelPrefix = "banger:";

// A uid has 36 characters; each name with its terminating zero.
constexpr std::size_t kUidLength = 36;
static_assert(kDmUuidPrefix.size() + kUidLength + kDmUuidSuffix.size() + 1 <= DM_NAME_LEN);
static_assert(kDmUuidPrefix.size() + kUidLength + kDmUuidSuffix.size() + 1 <= DM_UUID_LEN);
static_assert(kLoopLabelPrefix.size() + kUidLength + 1 <= LO_NAME_SIZE);
static_assert(kCgroupPrefix.size() + kUidLength <= NAME_MAX);
// An alias is shorter than IFALIASZ. A comment is a type, a length of one byte and its text with a zero, in a table's user data.
static_assert(kMaxLabel < IFALIASZ && kMaxLabel + 1 <= UINT8_MAX && 2 + kMaxLabel + 1 <= NFT_USERDATA_MAXLEN);
// What must not be cut fits always: the uid and the instance; and so does a whole label of a VM, DNS labels for namespace and
// name.
constexpr std::size_t kInstanceLength = 8;
constexpr std::size_t kLabelStart = kUidWord.size() + kUidLength + 1 + kInstanceWord.size() + kInstanceLength;
static_assert(kLabelStart + 1 + kOfWord.size() + std::string_view("VirtualMachine/").size() + 63 + 1 + 63 <= kMaxLabel);

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

constexpr std::string_view kBase32 = "abcdefghijklmnopqrstuvwxyz234567";

bool is_short_id(std::string_view text) { return text.size() == 10 && text.find_first_not_of(kBase32) == std::string_view::npos; }

bool is_instance(std::string_view text) {
  return text.size() == kInstanceLength &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// "VirtualMachine/default/web", "Network//lan".
std::optional<api::ObjectKey> parse_object(std::string_view text) {
  const auto first = text.find('/');
  const auto second = first == std::string_view::npos ? first : text.find('/', first + 1);
  if (second == std::string_view::npos || second + 1 == text.size() || text.find('/', second + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  const auto* kind = api::find_kind(text.substr(0, first));
  const auto ns = text.substr(first + 1, second - first - 1);
  if (kind == nullptr || kind->namespaced == ns.empty()) return std::nullopt;
  const auto is_printable = [](char c) { return c > ' ' && c <= '~'; };
  if (!std::ranges::all_of(text, is_printable)) return std::nullopt;
  return api::ObjectKey{kind->kind, std::string(ns), std::string(text.substr(second + 1))};
}

}  // namespace

std::string label_text(const Label& label) {
  if (!is_uid(label.uid) || (!label.instance.empty() && !is_instance(label.instance))) std::abort();
  auto text = fmt::format("{}{}", kUidWord, label.uid);
  if (!label.instance.empty()) text += fmt::format(" {}{}", kInstanceWord, label.instance);
  if (!label.of) return text;
  const auto object = fmt::format(" {}{}/{}/{}", kOfWord, api::info(label.of->kind).name, label.of->ns, label.of->name);
  return text.size() + object.size() <= kMaxLabel ? text + object : text;
}

std::optional<Label> parse_label(std::string_view text) {
  if (!text.starts_with(kUidWord)) return std::nullopt;
  Label label;
  const auto words = split(text, ' ');
  const auto uid = words.front().substr(kUidWord.size());
  if (!is_uid(uid)) return std::nullopt;
  label.uid = uid;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word.starts_with(kInstanceWord)) {
      label.instance = word.substr(kInstanceWord.size());
      if (!is_instance(label.instance)) return std::nullopt;
    } else if (word.starts_with(kOfWord)) {
      label.of = parse_object(word.substr(kOfWord.size()));
    }
  }
  return label;
}

std::string instance_id(const std::filesystem::path& state_dir) {
  const auto text = "banger " + state_dir.native();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  if (::EVP_Digest(text.data(), text.size(), digest.data(), nullptr, ::EVP_sha256(), nullptr) != 1) std::abort();
  return fmt::format("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
}

// Read for every link at every look at the host: what else a label says is left aside.
std::string owner_by_label(std::string_view text, std::string_view instance) {
  if (!text.starts_with(kUidWord)) return {};
  const auto uid = text.substr(kUidWord.size(), text.find(' ') - kUidWord.size());
  if (!is_uid(uid)) return {};
  for (auto at = text.find(' '); at != std::string_view::npos; at = text.find(' ', at + 1)) {
    const auto word = text.substr(at + 1, text.find(' ', at + 1) - at - 1);
    if (word.starts_with(kInstanceWord) && word.substr(kInstanceWord.size()) != instance) return {};
  }
  return std::string(uid);
}

std::string short_id(std::string_view uid) { return base32(leading_bits(uid), 10); }

std::optional<std::string> uid_of_short_id(std::string_view id) {
  if (!is_short_id(id)) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : id) value = (value << 5U) | (kBase32.find(c));
  // 50 bits: 48 before the version, and the first two of the version's own digit.
  const auto lead = value >> 2U;
  return fmt::format("{:08x}-{:04x}-{:x}000-8000-000000000000", lead >> 16U, lead & 0xffffU, (value & 3U) << 2U);
}

// 3 + 10 + 1 + 1 characters and the terminating zero fill IFNAMSIZ exactly.
static_assert(3 + 10 + 1 + 1 + 1 == IFNAMSIZ);

std::string tap_name(std::string_view vm_uid, std::size_t index) {
  if (index > 7) std::abort();
  return fmt::format("bgr{}-{}", short_id(vm_uid), index);
}

std::string bridge_name(std::string_view network_uid) { return "bgb" + short_id(network_uid); }

std::optional<std::string> short_id_of_tap(std::string_view name) {
  const bool tap =
      name.starts_with("bgr") && name.size() == IFNAMSIZ - 1 && name[13] == '-' && name[14] >= '0' && name[14] <= '7';
  if (!tap || !is_short_id(name.substr(3, 10))) return std::nullopt;
  return std::string(name.substr(3, 10));
}

bool is_our_link_name(std::string_view name) {
  if (name.starts_with("bgb")) return is_short_id(name.substr(3));
  return short_id_of_tap(name).has_value();
}

std::string nat_table_name(std::string_view network_uid) { return "banger-" + short_id(network_uid); }

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
  return fmt::format("{}{}", kLoopLabelPrefix, vm_uid);
}

std::optional<std::string> uid_of_cow_label(std::string_view label) {
  if (!label.starts_with(kLoopLabelPrefix)) return std::nullopt;
  label.remove_prefix(kLoopLabelPrefix.size());
  if (!is_uid(label)) return std::nullopt;
  return std::string(label);
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

std::filesystem::path network_dir(const Layout& layout, std::string_view network_uid) {
  if (!is_uid(network_uid)) std::abort();
  return layout.state_dir / "networks" / network_uid;
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
