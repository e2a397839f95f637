// SPDX-License-Identifier: Apache-2.0
// What is asked of a virtual machine beside what bangerd last saw of it.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/codec.hpp"
#include "api/cow_state.hpp"
#include "api/update_class.hpp"
#include "base/text.hpp"
#include "cli/describe.hpp"
#include "cli/session.hpp"
#include "cli/table_printer.hpp"

namespace banger::cli {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string quantity(const Bytes& size) { return api::format_quantity(size); }
std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string backend_name(api::DiskBackend backend) {
  switch (backend) {
    case api::DiskBackend::Auto:
      return "auto";
    case api::DiskBackend::DmSnapshot:
      return "dm-snapshot";
    case api::DiskBackend::Reflink:
      return "reflink";
    case api::DiskBackend::Copy:
      return "copy";
  }
  return "";
}

std::string policy_name(api::RestartPolicy policy) {
  switch (policy) {
    case api::RestartPolicy::Always:
      return "Always";
    case api::RestartPolicy::OnFailure:
      return "OnFailure";
    case api::RestartPolicy::Never:
      return "Never";
  }
  return "";
}

const api::PendingChange* pending_change(const api::VirtualMachine& vm, std::string_view field) {
  const auto it = std::ranges::find(vm.status.pending_changes, field, &api::PendingChange::field);
  return it == vm.status.pending_changes.end() ? nullptr : &*it;
}

// What the running VMM has of a field: the old value while a change waits, nothing while there is no VMM.
std::string observed(const api::VirtualMachine& vm, std::string_view field, const std::string& desired) {
  if (!vm.status.vmm) return "-";
  const auto* change = pending_change(vm, field);
  return change == nullptr ? desired : change->from;
}

// What a change of the field costs, asked of the schema: the class of the difference that probe makes.
template <class F>
std::string cost(const api::VirtualMachineSpec& spec, F probe) {
  auto other = spec;
  probe(other);
  const auto changes = api::changed_fields(spec, other);
  return changes.empty() ? "" : std::string(api::to_string(changes.front().update_class));
}

void describe_spec(const api::VirtualMachine& vm) {
  const auto& spec = vm.spec;
  Rows rows;
  const auto add = [&](const std::string& field, const std::string& desired, auto probe) {
    rows.push_back({field, or_dash(desired), observed(vm, "spec." + field, or_dash(desired)), cost(spec, probe)});
  };
  using Spec = api::VirtualMachineSpec;
  const bool on = spec.power_state == api::PowerState::Running;
  rows.push_back({"powerState", on ? "Running" : "Stopped", or_dash(vm.status.phase),
                  cost(spec, [&](Spec& s) { s.power_state = on ? api::PowerState::Stopped : api::PowerState::Running; })});
  add("restartPolicy", policy_name(spec.restart_policy), [](Spec& s) {
    s.restart_policy = s.restart_policy == api::RestartPolicy::Never ? api::RestartPolicy::Always : api::RestartPolicy::Never;
  });
  add("cpus", std::to_string(spec.cpus), [](Spec& s) { ++s.cpus; });
  add("memory", quantity(spec.memory), [](Spec& s) { s.memory.value += mib(1).value; });
  add("image", spec.image, [](Spec& s) { s.image += "-"; });
  add("kernel", spec.kernel, [](Spec& s) { s.kernel += "-"; });
  add("kernelArgs", join(spec.kernel_args, " "), [](Spec& s) { s.kernel_args.emplace_back("-"); });
  add("rootDisk.size", spec.root_disk.size ? quantity(*spec.root_disk.size) : "the image's",
      [](Spec& s) { s.root_disk.size = Bytes{s.root_disk.size.value_or(Bytes{}).value + 4096}; });
  add("rootDisk.backend", backend_name(spec.root_disk.backend), [](Spec& s) {
    s.root_disk.backend = s.root_disk.backend == api::DiskBackend::Copy ? api::DiskBackend::Reflink : api::DiskBackend::Copy;
  });
  add("disks", std::to_string(spec.disks.size()), [](Spec& s) { s.disks.emplace_back(); });
  add("networkInterfaces", std::to_string(spec.network_interfaces.size()), [](Spec& s) { s.network_interfaces.emplace_back(); });
  add("files", std::to_string(spec.files.size()), [](Spec& s) { s.files.emplace_back(); });
  print_section("Desired and observed", {"FIELD", "DESIRED", "OBSERVED", "A CHANGE NEEDS"}, rows);
}

void describe_pending(const api::VirtualMachine& vm) {
  if (vm.status.pending_changes.empty()) return;
  Rows rows;
  for (const auto& change : vm.status.pending_changes)
    rows.push_back({change.field, change.from, change.to, change.update_class});
  print_section("Changes that wait (carry them out with: bangerctl restart NAME)", {"FIELD", "RUNNING WITH", "WANTED", "NEEDS"},
                rows);
}

void describe_interfaces(const api::VirtualMachine& vm) {
  Rows rows;
  const auto count = std::max(vm.spec.network_interfaces.size(), vm.status.network_interfaces.size());
  for (std::size_t i = 0; i < count; ++i) {
    const auto* wanted = i < vm.spec.network_interfaces.size() ? &vm.spec.network_interfaces[i] : nullptr;
    const auto* seen = i < vm.status.network_interfaces.size() ? &vm.status.network_interfaces[i] : nullptr;
    rows.push_back({std::to_string(i), wanted != nullptr ? wanted->network : "-",
                    wanted == nullptr ? "-" : wanted->address.value_or("leased"), seen != nullptr ? or_dash(seen->address) : "-",
                    seen != nullptr ? or_dash(seen->gateway) : "-", seen != nullptr ? or_dash(seen->mac) : "-"});
  }
  print_section("Network interfaces", {"INDEX", "NETWORK", "WANTED ADDRESS", "ADDRESS", "GATEWAY", "MAC"}, rows);
}

std::string cow_fill(const api::VirtualMachine& vm, const api::DiskStatus& root) {
  switch (api::cow_state(vm.status.conditions)) {
    case api::CowState::Invalid:
      return "Invalid: the kernel gave it up (see the condition RootDiskInvalid)";
    case api::CowState::Overflow:
      return "Overflow: the guest's writes fail (see the condition RootDiskFull)";
    case api::CowState::Ok:
      break;
  }
  return root.cow_used_percent ? fmt::format("{} %", *root.cow_used_percent) : "-";
}

// Of a root disk that is a dm-snapshot: where it is, how full, and what becomes of it then; of others, why.
void describe_root_disk(const api::VirtualMachine& vm) {
  const auto root = std::ranges::find(vm.status.disks, "root", &api::DiskStatus::name);
  if (root == vm.status.disks.end()) return;
  Rows rows;
  if (!root->backend_reason.empty()) rows.push_back({"backend reason", root->backend_reason});
  if (!root->device.empty()) rows.push_back({"device", root->device});
  if (root->cow_size) {
    const auto& cow = vm.spec.root_disk.cow;
    rows.push_back({"cow file", root->path});
    rows.push_back({"cow size", fmt::format("{} (wanted: {})", quantity(*root->cow_size),
                                            cow.size ? quantity(*cow.size) : "a quarter of the disk, 64Mi to 1Gi")});
    rows.push_back({"cow used", cow_fill(vm, *root)});
    rows.push_back({"cow growth", cow.growth == api::CowGrowth::Auto ? "auto: doubled at 80 %, up to what the disk can need"
                                                                     : "never: a warning at 80 %"});
  }
  if (!rows.empty()) print_section("Root disk", {"FIELD", "VALUE"}, rows);
}

void describe_disks(const api::VirtualMachine& vm) {
  Rows rows;
  const auto size_of = [](const api::DiskStatus& disk) { return disk.state.empty() ? quantity(disk.size) : disk.state; };
  const auto add = [&](const std::string& name, const std::string& size, const std::string& mount) {
    const auto it = std::ranges::find(vm.status.disks, name, &api::DiskStatus::name);
    const bool seen = it != vm.status.disks.end();
    rows.push_back({name, size, mount, seen ? size_of(*it) : "-", seen ? or_dash(it->backend) : "-"});
  };
  add("root", vm.spec.root_disk.size ? quantity(*vm.spec.root_disk.size) : "the image's", "/");
  for (const auto& disk : vm.spec.disks) add(disk.name, quantity(disk.size), or_dash(disk.mount_path));
  for (const auto& disk : vm.status.disks) {
    const bool wanted =
        disk.name == "root" || std::ranges::find(vm.spec.disks, disk.name, &api::DataDiskSpec::name) != vm.spec.disks.end();
    if (!wanted) rows.push_back({disk.name, "-", "-", size_of(disk), or_dash(disk.backend)});
  }
  print_section("Disks", {"NAME", "WANTED", "MOUNT", "SIZE", "BACKEND"}, rows);
  describe_root_disk(vm);
}

void describe_steps(const api::VirtualMachine& vm) {
  Rows rows;
  for (const auto& step : vm.status.steps)
    rows.push_back({step.name, step.state, fmt::format("{} ms", step.duration.count()), step.message});
  print_section("Steps of the latest start or stop", {"STEP", "STATE", "TOOK", "MESSAGE"}, rows);
}

void describe_termination(const api::VirtualMachine& vm) {
  if (const auto& end = vm.status.last_termination) {
    print_field("Last end", fmt::format("{}{}: {}", end->reason, end->finished ? " at " + api::format_time(*end->finished) : "",
                                        or_dash(end->message)));
  }
  if (vm.status.restart_after)
    print_field("Next start", fmt::format("not before {}", api::format_time(*vm.status.restart_after)));
}

}  // namespace

void describe_kernel_objects(const std::vector<api::KernelObjectStatus>& objects) {
  Rows rows;
  for (const auto& object : objects)
    rows.push_back({object.type, or_dash(object.name), object.desired, object.observed, object.detail});
  print_section("Kernel objects", {"TYPE", "NAME", "DESIRED", "OBSERVED", "WHAT"}, rows);
}

void print_section(std::string_view title, const std::vector<std::string>& header, const Rows& rows) {
  print_line(fmt::format("\n{}:", title));
  if (rows.empty()) return print_line("  none");
  std::vector<std::string> indented = header;
  indented.front() = "  " + indented.front();
  auto indented_rows = rows;
  for (auto& row : indented_rows) row.front() = "  " + row.front();
  TablePrinter(indented).print(indented_rows);
}

void describe_vm(const api::VirtualMachine& vm) {
  print_field("Phase", or_dash(vm.status.phase));
  print_field("Restarts", std::to_string(vm.status.restart_count));
  if (const auto& vmm = vm.status.vmm) {
    if (vmm->started) print_field("Running since", api::format_time(*vmm->started));
    if (!vmm->socket.empty()) print_field("Monitor", vmm->socket);
  }
  describe_termination(vm);
  if (const auto& ssh = vm.status.ssh) print_field("SSH", fmt::format("{}@{} port {}", ssh->user, ssh->address, ssh->port));
  describe_spec(vm);
  describe_pending(vm);
  describe_interfaces(vm);
  describe_disks(vm);
  describe_kernel_objects(vm.status.kernel_objects);
  describe_steps(vm);
}

}  // namespace banger::cli
