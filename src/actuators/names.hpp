// SPDX-License-Identifier: Apache-2.0
// Every name this program gives to a kernel object or a file, derived from its owner's uid, with the limit it must fit.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "api/meta.hpp"

namespace banger::actuators {

// Where a daemon instance keeps things. Both absolute. run_dir is short: a socket path below it must fit sun_path (107 bytes).
struct Layout {
  std::filesystem::path state_dir;  // /var/lib/banger: survives a reboot
  std::filesystem::path run_dir;    // /run/banger: does not
  bool operator==(const Layout&) const = default;
};

// What links (ifalias) and nft tables (comment) of ours bear: "banger:uid=<uid> by=<8 hex> of=<Kind>/<namespace>/<name>".
struct Label {
  std::string uid;
  std::string instance;              // instance_id() of the daemon that made it; empty: made before labels told that
  std::optional<api::ObjectKey> of;  // whose object it was made for, by name
  bool operator==(const Label&) const = default;
};

inline constexpr std::size_t kMaxLabel = 253;  // bytes, by the smaller of the two limits: see names.cpp

// At most kMaxLabel bytes: of is left out where it would not fit, and by where there is no instance. The uid must satisfy
// is_uid() (checked; aborts otherwise).
std::string label_text(const Label& label);

// Nothing for a text that is no label of any daemon of this kind. The uid's word is first; words that are not known are passed
// over, and so is an of that does not name an object.
std::optional<Label> parse_label(std::string_view text);

// Which daemon's: the first 32 bits of SHA-256 of "banger " + its state directory (canonical), as 8 hexadecimal digits.
std::string instance_id(const std::filesystem::path& state_dir);

// The uid of a label that this instance wrote, or that tells of none; empty for every other text: not ours.
std::string owner_by_label(std::string_view text, std::string_view instance);

// 10 base32 digits: the first 50 bits of the uid. uid must satisfy is_uid() (checked; aborts otherwise: no other text may name
// anything).
std::string short_id(std::string_view uid);

// The least uid with this short id; nothing for what is no short id. For what has lost all but that: a run directory.
std::optional<std::string> uid_of_short_id(std::string_view id);

std::string tap_name(std::string_view vm_uid,
                     std::size_t index);  // "bgr" + short_id + "-" + index 0..7: 15 characters = IFNAMSIZ - 1
std::optional<std::string> short_id_of_tap(std::string_view name);    // of what tap_name() makes
std::string bridge_name(std::string_view network_uid);                // "bgb" + short_id: 13 characters
bool is_our_link_name(std::string_view name);                         // as tap_name() and bridge_name() make them
std::string nat_table_name(std::string_view network_uid);             // "banger-" + short_id
std::string cgroup_name(std::string_view vm_uid);                     // "banger.slice/vm-" + uid
std::optional<std::string> uid_of_cgroup(std::string_view path);      // of ".../vm-<uid>"
std::string dm_name(std::string_view vm_uid);                         // "banger-" + uid + "-root": 48 of DM_NAME_LEN 128
std::string dm_uuid(std::string_view vm_uid);                         // "BANGER-" + uid + "-root": 48 of DM_UUID_LEN 129
std::optional<std::string> uid_of_dm_uuid(std::string_view uuid);     // the uid, if the uuid is one of ours
std::optional<std::string> uid_of_cow_label(std::string_view label);  // of lo_file_name
std::string cow_loop_label(std::string_view vm_uid);                  // "banger:" + uid: 43 of LO_NAME_SIZE 64 (lo_file_name)
std::string mac_of(std::string_view vm_uid, std::size_t index);  // locally administered, from 40 bits of the uid and the index

std::filesystem::path vm_dir(const Layout& layout, std::string_view vm_uid);          // <state>/vms/<uid>
std::filesystem::path sidecar_path(const Layout& layout, std::string_view vm_uid);    // …/vm.json
std::filesystem::path root_disk_path(const Layout& layout, std::string_view vm_uid);  // …/root.img
std::filesystem::path root_cow_path(const Layout& layout, std::string_view vm_uid);   // …/root.cow: what a dm-snapshot keeps
std::filesystem::path root_base_path(const Layout& layout,
                                     std::string_view vm_uid);  // …/root.base: hard link to the image's base
std::filesystem::path dm_device_path(std::string_view vm_uid);  // /dev/mapper/<dm_name>
std::filesystem::path data_disk_path(const Layout& layout, std::string_view vm_uid, std::string_view disk);  // …/disk-<name>.img
std::filesystem::path vm_initrd_path(const Layout& layout, std::string_view vm_uid);                         // …/initrd
std::filesystem::path host_key_path(const Layout& layout, std::string_view vm_uid);  // …/host_key: the guest's ed25519 host key
std::filesystem::path known_hosts_path(const Layout& layout, std::string_view vm_uid);     // …/known_hosts
std::filesystem::path serial_log_path(const Layout& layout, std::string_view vm_uid);      // …/serial.log, and serial.log.1
std::filesystem::path vm_run_dir(const Layout& layout, std::string_view vm_uid);           // <run>/vm/<short_id>
std::filesystem::path monitor_socket_path(const Layout& layout, std::string_view vm_uid);  // …/qmp.sock
std::filesystem::path exit_record_path(const Layout& layout, std::string_view vm_uid);     // …/exit.json, written by the shim
std::filesystem::path vmm_log_path(const Layout& layout, std::string_view vm_uid);         // …/vmm.log: stderr of the VMM
std::filesystem::path network_dir(const Layout& layout, std::string_view network_uid);     // <state>/networks/<uid>
std::filesystem::path image_dir(const Layout& layout, std::string_view image_uid);         // <state>/images/<uid>
std::filesystem::path kernel_dir(const Layout& layout, std::string_view kernel_uid);       // <state>/kernels/<uid>
inline constexpr std::string_view kRecordFile = "object.json";                             // in these three: record.hpp
std::filesystem::path client_key_path(const Layout& layout);                               // <state>/ssh/id_ed25519

}  // namespace banger::actuators
