// SPDX-License-Identifier: Apache-2.0
// What the host hands to banger-init inside the initrd: where it stands and how it is written. Header only and without
// dependencies, for the static init.
//
// The configuration is text. Its first line is kFirstLine; every other line is a keyword and its fields, separated by one space.
// In a field every byte that is not printable ASCII, and every space and '%', stands as %XX (two upper-case hexadecimal digits);
// an empty field is "-", a field that is "-" is "%2D".
//
//   hostname   NAME
//   nameserver ADDRESS                     in order
//   nic        MAC ADDRESS/PREFIX GATEWAY  the first gateway makes the default route
//   mount      DISK PATH                   DISK: serial number; empty PATH: its file system is only grown
//   user       NAME                        who the keys are for; without it no SSH keys are installed
//   key        LINE                        of authorized_keys
//   file       NUMBER MODE PATH            MODE octal; its content is the file NUMBER in kFilesDirectory
#pragma once

namespace banger::guest_config {

inline constexpr char kFirstLine[] = "banger-guest 1";

inline constexpr char kConfigFile[] = "/banger/config";
inline constexpr char kFilesDirectory[] = "/banger/files";
inline constexpr char kHostKey[] = "/banger/ssh/host_key";  // openssh-key-v1
inline constexpr char kHostKeyPublic[] = "/banger/ssh/host_key.pub";
inline constexpr char kHostKeyDropbear[] = "/banger/ssh/dropbear_host_key";
inline constexpr char kModulesDirectory[] = "/banger/modules";
inline constexpr char kModuleOrder[] = "/banger/modules/order";  // file names in the order of loading, one a line

inline constexpr char kHostname[] = "hostname";
inline constexpr char kNameserver[] = "nameserver";
inline constexpr char kNic[] = "nic";
inline constexpr char kMount[] = "mount";
inline constexpr char kUser[] = "user";
inline constexpr char kKey[] = "key";
inline constexpr char kFile[] = "file";

inline constexpr char kRootDisk[] = "root";  // serial number of the root disk

}  // namespace banger::guest_config
