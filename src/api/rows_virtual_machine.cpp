// SPDX-License-Identifier: Apache-2.0
// Rows of a VirtualMachine's spec.
#include <array>

#include "api/rows.hpp"

namespace banger::api::schema {
namespace {

constexpr auto kSmallestDisk = static_cast<std::int64_t>(mib(1).value);
constexpr auto kSmallestCow = static_cast<std::int64_t>(mib(8).value);
constexpr auto kLargestDisk = static_cast<std::int64_t>(gib(64 * 1024).value);

void one_default_interface(void* value) { static_cast<std::vector<NetworkInterfaceSpec>*>(value)->emplace_back(); }

}  // namespace

template <>
std::span<const std::string_view> spellings_of<PowerState>() {
  static constexpr std::array<std::string_view, 2> kSpellings{"Running", "Stopped"};
  return kSpellings;
}
template <>
std::span<const std::string_view> spellings_of<RestartPolicy>() {
  static constexpr std::array<std::string_view, 3> kSpellings{"Always", "OnFailure", "Never"};
  return kSpellings;
}
template <>
std::span<const std::string_view> spellings_of<DiskBackend>() {
  static constexpr std::array<std::string_view, 4> kSpellings{"auto", "dm-snapshot", "reflink", "copy"};
  return kSpellings;
}

template <>
std::span<const std::string_view> spellings_of<CowGrowth>() {
  static constexpr std::array<std::string_view, 2> kSpellings{"auto", "never"};
  return kSpellings;
}

template <>
std::span<const Field> fields_of<CowSpec>() {
  static const Field kRows[] = {
      {.name = "size",
       .member = member<&CowSpec::size>(),
       .doc = "space set aside for what the guest writes; it can grow, never shrink",
       .min = kSmallestCow,
       .max = kLargestDisk,
       .default_text = "a quarter of the disk, `64Mi` to `1Gi`",
       .update = UpdateClass::Live},
      {.name = "growth",
       .member = member<&CowSpec::growth>(),
       .doc = "what happens when 80 % of it is used: `auto` doubles it, `never` only warns",
       .update = UpdateClass::Live},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<RootDiskSpec>() {
  static const Field kRows[] = {
      {.name = "size",
       .member = member<&RootDiskSpec::size>(),
       .doc = "size of the root disk, at least the image's; it can grow, never shrink",
       .min = kSmallestDisk,
       .max = kLargestDisk,
       .default_text = "the image's size",
       .update = UpdateClass::Restart},
      {.name = "backend",
       .member = member<&RootDiskSpec::backend>(),
       .doc = "how the root disk is made from the image; `auto` takes the best one that the host can do",
       .update = UpdateClass::Immutable},
      {.name = "cow",
       .member = member<&RootDiskSpec::cow>(),
       .doc = "of the backend `dm-snapshot`: room for what the guest writes"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<DataDiskSpec>() {
  static const Field kRows[] = {
      {.name = "name",
       .member = member<&DataDiskSpec::name>(),
       .doc = "name of the disk, its serial number in the guest too",
       .required = true,
       .format = Format::DiskName,
       .update = UpdateClass::Restart},
      {.name = "size",
       .member = member<&DataDiskSpec::size>(),
       .doc = "size of the disk; it can grow, never shrink",
       .required = true,
       .min = kSmallestDisk,
       .max = kLargestDisk,
       .update = UpdateClass::Restart},
      {.name = "mountPath",
       .member = member<&DataDiskSpec::mount_path>(),
       .doc = "where the guest mounts it",
       .format = Format::AbsolutePath,
       .default_text = "attached, not mounted",
       .update = UpdateClass::Restart},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<NetworkInterfaceSpec>() {
  static const Field kRows[] = {
      {.name = "network",
       .member = member<&NetworkInterfaceSpec::network>(),
       .doc = "the Network it is plugged into",
       .required = true,
       .format = Format::DnsLabel,
       .update = UpdateClass::Restart},
      {.name = "address",
       .member = member<&NetworkInterfaceSpec::address>(),
       .doc = "a fixed IPv4 address inside the network",
       .format = Format::Ipv4,
       .default_text = "leased, and kept",
       .update = UpdateClass::Restart},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<SshSpec>() {
  static const Field kRows[] = {
      {.name = "user",
       .member = member<&SshSpec::user>(),
       .doc = "user in the guest that the keys are for",
       .required = true,
       .format = Format::UserName,
       .update = UpdateClass::Restart},
      {.name = "authorizedKeys",
       .member = member<&SshSpec::authorized_keys>(),
       .doc = "OpenSSH public keys that may log in, besides the daemon's own",
       .format = Format::PublicKey,
       .max_length = 16 * 1024,
       .max_items = 64,
       .update = UpdateClass::Restart},
      {.name = "port",
       .member = member<&SshSpec::port>(),
       .doc = "port of the guest's SSH server",
       .min = 1,
       .max = 65535,
       .update = UpdateClass::Restart},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<GuestFileSpec>() {
  static const Field kRows[] = {
      {.name = "path",
       .member = member<&GuestFileSpec::path>(),
       .doc = "where the file goes in the guest",
       .required = true,
       .format = Format::AbsolutePath,
       .update = UpdateClass::Restart},
      {.name = "content",
       .member = member<&GuestFileSpec::content>(),
       .doc = "what it holds",
       .max_length = 64 * 1024,
       .default_text = "empty",
       .update = UpdateClass::Restart},
      {.name = "mode",
       .member = member<&GuestFileSpec::mode>(),
       .doc = "its permission bits in octal, written 0644 or \"0644\"",
       .format = Format::FileMode,
       .min = 0,
       .max = 07777,
       .update = UpdateClass::Restart},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<VirtualMachineSpec>() {
  static const Field kRows[] = {
      {.name = "powerState", .member = member<&VirtualMachineSpec::power_state>(), .doc = "whether the VM runs"},
      {.name = "restartPolicy",
       .member = member<&VirtualMachineSpec::restart_policy>(),
       .doc = "what happens when the guest ends by itself"},
      {.name = "cpus",
       .member = member<&VirtualMachineSpec::cpus>(),
       .doc = "number of virtual CPUs",
       .min = 1,
       .max = 32,
       .update = UpdateClass::Restart},
      {.name = "memory",
       .member = member<&VirtualMachineSpec::memory>(),
       .doc = "size of the guest's memory, in whole Mi",
       .min = static_cast<std::int64_t>(mib(64).value),
       .max = static_cast<std::int64_t>(gib(1024).value),
       .multiple_of = static_cast<std::int64_t>(mib(1).value),
       .update = UpdateClass::Restart},
      {.name = "image",
       .member = member<&VirtualMachineSpec::image>(),
       .doc = "the Image that the root disk is made from",
       .required = true,
       .format = Format::DnsLabel,
       .update = UpdateClass::Recreate},
      {.name = "kernel",
       .member = member<&VirtualMachineSpec::kernel>(),
       .doc = "the Kernel that boots; `host` is the newest kernel package installed on this host (without one the VM waits and "
              "says so)",
       .required = true,
       .format = Format::DnsLabel,
       .update = UpdateClass::Restart},
      {.name = "kernelArgs",
       .member = member<&VirtualMachineSpec::kernel_args>(),
       .doc = "arguments appended to the guest's command line",
       .format = Format::KernelArgument,
       .max_items = 64,
       .update = UpdateClass::Restart},
      {.name = "rootDisk", .member = member<&VirtualMachineSpec::root_disk>(), .doc = "the disk that holds the image's content"},
      {.name = "disks",
       .member = member<&VirtualMachineSpec::disks>(),
       .doc = "data disks; they go with the VM",
       .max_items = 16,
       .list_key = "name",
       .update = UpdateClass::Restart},
      {.name = "networkInterfaces",
       .member = member<&VirtualMachineSpec::network_interfaces>(),
       .doc = "network interfaces; an empty list: none",
       .always = true,
       .max_items = 8,
       .default_text = "one on the network `default`",
       .update = UpdateClass::Restart,
       .when_absent = &one_default_interface},
      {.name = "ssh",
       .member = member<&VirtualMachineSpec::ssh>(),
       .doc = "SSH access to the guest, for people and for the daemon's clean stop",
       .default_text = "none: Ready means that the guest runs, and a stop cannot sync",
       .update = UpdateClass::Restart},
      {.name = "files",
       .member = member<&VirtualMachineSpec::files>(),
       .doc = "files put into the guest's root file system",
       .max_items = 64,
       .list_key = "path",
       .update = UpdateClass::Restart},
      {.name = "restartNonce",
       .member = member<&VirtualMachineSpec::restart_nonce>(),
       .doc = "another value restarts the VM once; `bangerctl restart` sets it",
       .format = Format::Line,
       .max_length = 64,
       .update = UpdateClass::Restart},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<VirtualMachine>() {
  static const Field kRows[] = {
      {.name = "spec", .member = member<&VirtualMachine::spec>(), .doc = "what is asked for"},
      {.name = "status", .member = member<&VirtualMachine::status>(), .doc = "what is known", .server_owned = true},
  };
  return kRows;
}

}  // namespace banger::api::schema
