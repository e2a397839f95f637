// SPDX-License-Identifier: Apache-2.0
// Rows of a VirtualMachine's status.
#include "api/rows.hpp"

namespace banger::api::schema {

template <>
std::span<const Field> fields_of<StepStatus>() {
  static const Field kRows[] = {
      {.name = "name", .member = member<&StepStatus::name>(), .doc = "name of the step", .required = true},
      {.name = "state", .member = member<&StepStatus::state>(), .doc = "Done, Running, Failed or Undone"},
      {.name = "durationMilliseconds", .member = member<&StepStatus::duration>(), .doc = "how long it took", .always = true},
      {.name = "message", .member = member<&StepStatus::message>(), .doc = "what went wrong"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<NetworkInterfaceStatus>() {
  static const Field kRows[] = {
      {.name = "network", .member = member<&NetworkInterfaceStatus::network>(), .doc = "the Network"},
      {.name = "tap", .member = member<&NetworkInterfaceStatus::tap>(), .doc = "name of the link on the host"},
      {.name = "mac", .member = member<&NetworkInterfaceStatus::mac>(), .doc = "MAC address in the guest"},
      {.name = "address", .member = member<&NetworkInterfaceStatus::address>(), .doc = "address and prefix in the guest"},
      {.name = "gateway", .member = member<&NetworkInterfaceStatus::gateway>(), .doc = "the guest's default route"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<VmmStatus>() {
  static const Field kRows[] = {
      {.name = "driver", .member = member<&VmmStatus::driver>(), .doc = "what runs the guest"},
      {.name = "version", .member = member<&VmmStatus::version>(), .doc = "its version"},
      {.name = "accelerator", .member = member<&VmmStatus::accelerator>(), .doc = "kvm or tcg"},
      {.name = "acceleratorReason", .member = member<&VmmStatus::accelerator_reason>(), .doc = "why this one"},
      {.name = "pid", .member = member<&VmmStatus::pid>(), .doc = "process id"},
      {.name = "startTimeTicks",
       .member = member<&VmmStatus::start_time_ticks>(),
       .doc = "when the process started, in clock ticks since the host's boot"},
      {.name = "socket", .member = member<&VmmStatus::socket>(), .doc = "its control socket"},
      {.name = "started", .member = member<&VmmStatus::started>(), .doc = "when it was started"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<DiskStatus>() {
  static const Field kRows[] = {
      {.name = "name", .member = member<&DiskStatus::name>(), .doc = "`root` or the data disk's name", .required = true},
      {.name = "path", .member = member<&DiskStatus::path>(), .doc = "its file on the host"},
      {.name = "state", .member = member<&DiskStatus::state>(), .doc = "`Missing`: it was made, and its file is gone"},
      {.name = "backend", .member = member<&DiskStatus::backend>(), .doc = "how it was made"},
      {.name = "backendReason",
       .member = member<&DiskStatus::backend_reason>(),
       .doc = "with backend `auto`: why no better one was taken"},
      {.name = "size", .member = member<&DiskStatus::size>(), .doc = "its size"},
      {.name = "device", .member = member<&DiskStatus::device>(), .doc = "of an active dm-snapshot: its block device"},
      {.name = "cowSize", .member = member<&DiskStatus::cow_size>(), .doc = "of a dm-snapshot: space set aside for writes"},
      {.name = "cowUsedPercent", .member = member<&DiskStatus::cow_used_percent>(), .doc = "how much of that is used"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<TerminationStatus>() {
  static const Field kRows[] = {
      {.name = "reason",
       .member = member<&TerminationStatus::reason>(),
       .doc = "GuestReboot, GuestShutdown, Killed, Crashed, InternalError, StartFailed or Unknown"},
      {.name = "exitCode", .member = member<&TerminationStatus::exit_code>(), .doc = "exit code of the VMM", .always = true},
      {.name = "signal", .member = member<&TerminationStatus::signal>(), .doc = "signal that ended the VMM"},
      {.name = "finished", .member = member<&TerminationStatus::finished>(), .doc = "when it ended"},
      {.name = "message", .member = member<&TerminationStatus::message>(), .doc = "a sentence for people"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<PendingChange>() {
  static const Field kRows[] = {
      {.name = "field",
       .member = member<&PendingChange::field>(),
       .doc = "what was changed: `spec.memory`, `Kernel/host.path`, `Network/default.mtu`",
       .required = true},
      {.name = "updateClass", .member = member<&PendingChange::update_class>(), .doc = "what it waits for: Restart or Recreate"},
      {.name = "from", .member = member<&PendingChange::from>(), .doc = "what the running VM has"},
      {.name = "to", .member = member<&PendingChange::to>(), .doc = "what it will have"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<SshStatus>() {
  static const Field kRows[] = {
      {.name = "user", .member = member<&SshStatus::user>(), .doc = "user to log in as"},
      {.name = "address", .member = member<&SshStatus::address>(), .doc = "address to log in to"},
      {.name = "port", .member = member<&SshStatus::port>(), .doc = "port to log in to"},
      {.name = "identityFile", .member = member<&SshStatus::identity_file>(), .doc = "the daemon's client key on the host"},
      {.name = "knownHostsFile", .member = member<&SshStatus::known_hosts_file>(), .doc = "file with this VM's pinned host key"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ProcessStatus>() {
  static const Field kRows[] = {
      {.name = "pid", .member = member<&ProcessStatus::pid>(), .doc = "process id of the VMM"},
      {.name = "startTimeTicks",
       .member = member<&ProcessStatus::start_time_ticks>(),
       .doc = "when it started, in clock ticks since the host's boot"},
      {.name = "exe", .member = member<&ProcessStatus::exe>(), .doc = "its program"},
      {.name = "socket", .member = member<&ProcessStatus::socket>(), .doc = "its control socket"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<RuntimeStatus>() {
  static const Field kRows[] = {
      {.name = "taps", .member = member<&RuntimeStatus::taps>(), .doc = "links on the host"},
      {.name = "macs", .member = member<&RuntimeStatus::macs>(), .doc = "MAC addresses in the guest"},
      {.name = "addresses", .member = member<&RuntimeStatus::addresses>(), .doc = "addresses in the guest"},
      {.name = "loops", .member = member<&RuntimeStatus::loops>(), .doc = "backing files of loop devices"},
      {.name = "dm", .member = member<&RuntimeStatus::dm>(), .doc = "name of the device-mapper node"},
      {.name = "process", .member = member<&RuntimeStatus::process>(), .doc = "the VMM, once it was verified"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<VirtualMachineStatus>() {
  static const Field kRows[] = {
      {.name = "observedGeneration",
       .member = member<&VirtualMachineStatus::observed_generation>(),
       .doc = "the generation that the status speaks of",
       .min = 0},
      {.name = "phase",
       .member = member<&VirtualMachineStatus::phase>(),
       .doc = "Pending, Starting, Running, Stopping, Stopped, Failed or Deleting"},
      {.name = "conditions",
       .member = member<&VirtualMachineStatus::conditions>(),
       .doc = "Ready, Running, CleanShutdown, RestartRequired, RecreateRequired, NameConflict, StrayProcess, NetworkLost, "
              "AddressConflict, AddressesExhausted, HostDiskFull, DataLost, RootDiskFilling, RootDiskFull, RootDiskInvalid, "
              "RootDeviceLost, RootDeviceUnseen",
       .list_key = "type"},
      {.name = "networkInterfaces",
       .member = member<&VirtualMachineStatus::network_interfaces>(),
       .doc = "the interfaces, in the order of the spec"},
      {.name = "disks", .member = member<&VirtualMachineStatus::disks>(), .doc = "the disks", .list_key = "name"},
      {.name = "vmm", .member = member<&VirtualMachineStatus::vmm>(), .doc = "the process that runs the guest"},
      {.name = "ssh", .member = member<&VirtualMachineStatus::ssh>(), .doc = "how to log in"},
      {.name = "runtime",
       .member = member<&VirtualMachineStatus::runtime>(),
       .doc = "what the VM's record names: each before it is made, until it was seen to be gone"},
      {.name = "launches",
       .member = member<&VirtualMachineStatus::launches>(),
       .doc = "how often a VMM was started for it: from the first time on its disks are never made anew"},
      {.name = "restartCount",
       .member = member<&VirtualMachineStatus::restart_count>(),
       .doc = "how often it was started again after it ended by itself"},
      {.name = "lastTermination", .member = member<&VirtualMachineStatus::last_termination>(), .doc = "how the VMM ended last"},
      {.name = "restartAfter",
       .member = member<&VirtualMachineStatus::restart_after>(),
       .doc = "it is not started again before this"},
      {.name = "pendingChanges",
       .member = member<&VirtualMachineStatus::pending_changes>(),
       .doc = "changes of the spec, the Kernel and the Networks that wait",
       .list_key = "field"},
      {.name = "steps", .member = member<&VirtualMachineStatus::steps>(), .doc = "the latest start or stop, step by step"},
      {.name = "kernelObjects",
       .member = member<&VirtualMachineStatus::kernel_objects>(),
       .doc = "what there is of it on the host, beside what should be"},
  };
  return kRows;
}

}  // namespace banger::api::schema
