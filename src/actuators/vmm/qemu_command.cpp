// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/qemu_command.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "base/inet.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::actuators::vmm {
namespace {

// In QEMU's option lists a comma ends a value and two of them are one.
std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) out.append(c == ',' ? 2 : 1, c);
  return out;
}

bool is_name(std::string_view text) {  // of a disk, a tap, a VM: what the schema admits
  return !text.empty() && text.size() <= 63 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

Result<void> check_file(std::string_view what, std::string_view path) {
  if (path.starts_with('/') && path.find('\0') == std::string_view::npos) return {};
  return fail(invalid(fmt::format("{} \"{}\": expected an absolute path", what, printable(path))));
}

Result<void> check_devices(const LaunchVmm& step) {
  const auto count = step.disks.size() + step.nics.size() + 1;
  if (count > kMaxVirtioDevices) {
    return fail(invalid(fmt::format("the VM has {} disks and {} network interfaces; this machine has places for {} in all",
                                    step.disks.size(), step.nics.size(), kMaxVirtioDevices - 1)));
  }
  if (step.disks.empty()) return fail(invalid("the VM has no root disk"));
  for (const auto& disk : step.disks) {
    // The serial number of a virtio disk has 20 bytes; the guest finds its disks by it.
    if (!is_name(disk.name) || disk.name.size() > 20) {
      return fail(
          invalid(fmt::format("disk name \"{}\": expected at most 20 lower-case letters, digits and '-'", printable(disk.name))));
    }
    BGR_CHECK(check_file("disk", disk.path));
  }
  for (const auto& nic : step.nics) {
    if (!is_name(nic.tap) || nic.tap.size() > 15)
      return fail(invalid(fmt::format("tap name \"{}\" is not usable", printable(nic.tap))));
    if (!parse_mac(nic.mac)) return fail(invalid(fmt::format("\"{}\" is not a MAC address", printable(nic.mac))));
  }
  return {};
}

Result<void> check(const LaunchVmm& step, const QemuHost& host) {
  if (!is_uid(step.vm_uid)) return fail(invalid("the VM's uid is not a UUID"));
  if (step.cpus < 1 || step.cpus > 255) return fail(invalid(fmt::format("{} CPUs: expected 1 to 255", step.cpus)));
  if (step.memory < mib(16)) return fail(invalid("memory: a microVM needs at least 16Mi"));
  if (host.monitor_socket.size() > kMaxSocketPath) {
    return fail(invalid(
        fmt::format("the monitor socket's path {} has {} bytes, and a unix socket's may have {}: choose a shorter run directory",
                    host.monitor_socket, host.monitor_socket.size(), kMaxSocketPath)));
  }
  BGR_CHECK(check_file("kernel", step.kernel_path));
  if (!step.initrd_path.empty()) BGR_CHECK(check_file("initrd", step.initrd_path));
  for (const auto& argument : step.kernel_args) {
    if (argument.find('\0') != std::string::npos) return fail(invalid("a kernel argument holds a NUL byte"));
  }
  return check_devices(step);
}

// The kernel keeps the last of several consoles and takes the last of repeated settings: the user's come last.
std::string kernel_command_line(const LaunchVmm& step, const QemuHost& host) {
  std::string line = "console=ttyS0 reboot=t panic=-1 quiet";
  if (host.accelerator.name == "tcg" && host.tsc_khz != 0) line += fmt::format(" tsc_early_khz={}", host.tsc_khz);
  for (const auto& argument : step.kernel_args) {
    line += ' ';
    line += argument;
  }
  return line;
}

void add_devices(const LaunchVmm& step, std::vector<std::string>& argv) {
  const auto add = [&](std::string option, std::string value) {
    argv.push_back(std::move(option));
    argv.push_back(std::move(value));
  };
  for (const auto& disk : step.disks) {
    // Writeback with flushes passed through: what the guest was told is durable is.
    add("-blockdev", fmt::format("driver=raw,node-name=disk-{0},cache.direct=off,cache.no-flush=off,discard=unmap,"
                                 "file.driver={1},file.filename={2},file.aio=threads,file.locking=on",
                                 disk.name, disk.path.starts_with("/dev/") ? "host_device" : "file", escaped(disk.path)));
    add("-device", fmt::format("virtio-blk-device,drive=disk-{0},serial={0}", disk.name));
  }
  for (std::size_t i = 0; i < step.nics.size(); ++i) {
    add("-netdev", fmt::format("tap,id=net{},ifname={},script=no,downscript=no,vhost=off", i, step.nics[i].tap));
    const auto mtu = step.nics[i].mtu == 1500 ? std::string() : fmt::format(",host_mtu={}", step.nics[i].mtu);
    add("-device", fmt::format("virtio-net-device,netdev=net{},mac={}{}", i, step.nics[i].mac, mtu));
  }
  add("-device", "virtio-rng-device");
}

}  // namespace

Result<std::vector<std::string>> qemu_command(const LaunchVmm& step, const QemuHost& host) {
  BGR_CHECK(check(step, host));
  auto command_line = kernel_command_line(step, host);
  if (command_line.size() > kMaxCommandLine) {
    return fail(invalid(fmt::format("the guest kernel's command line has {} bytes; Linux reads {}: shorten kernelArgs",
                                    command_line.size(), kMaxCommandLine)));
  }
  const bool tcg = host.accelerator.name == "tcg";
  const bool named = is_name(step.vm_name) && (step.vm_ns.empty() || is_name(step.vm_ns));
  const auto process = fmt::format("banger-{}", named ? step.vm_name : short_id(step.vm_uid));
  const auto shown = named ? fmt::format("{}/{}", step.vm_ns, step.vm_name) : short_id(step.vm_uid);
  std::vector<std::string> argv{host.qemu_path,
                                "-name",
                                fmt::format("{},process={}", shown, process.substr(0, 15)),
                                "-uuid",
                                step.vm_uid,
                                "-nodefaults",
                                "-no-user-config",
                                "-no-reboot",
                                "-display",
                                "none",
                                "-sandbox",
                                "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
                                "-M",
                                "microvm,acpi=on,x-option-roms=off",
                                "-global",
                                "virtio-mmio.force-legacy=false",
                                "-accel",
                                tcg ? "tcg,tb-size=64" : "kvm",
                                "-cpu",
                                tcg ? "max" : "host",
                                "-smp",
                                fmt::format("{}", step.cpus),
                                "-m",
                                fmt::format("{}M", step.memory.value >> 20U),
                                "-kernel",
                                step.kernel_path,
                                "-append",
                                std::move(command_line),
                                "-serial",
                                "stdio",
                                "-chardev",
                                "socket,id=events,fd=3",
                                "-mon",
                                "chardev=events,mode=control",
                                "-qmp",
                                fmt::format("unix:{},server=on,wait=off", escaped(host.monitor_socket))};
  if (!step.initrd_path.empty()) {
    argv.emplace_back("-initrd");
    argv.push_back(step.initrd_path);
  }
  add_devices(step, argv);
  return argv;
}

std::string accelerator_of(const std::vector<std::string>& arguments) {
  const auto option = std::ranges::find(arguments, "-accel");
  if (option == arguments.end() || option + 1 == arguments.end()) return {};
  const auto& value = *(option + 1);
  return value.substr(0, value.find(','));
}

}  // namespace banger::actuators::vmm
