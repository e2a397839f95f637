// SPDX-License-Identifier: Apache-2.0
// The columns of every kind.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "api/codec.hpp"
#include "api/cow_state.hpp"
#include "server/table.hpp"

namespace banger::server {
namespace {

namespace json = boost::json;
using api::Object;

constexpr std::string_view kNone = "<none>";

template <class T>
const T& body(const Object& object) {
  return std::get<T>(object.body);
}

json::value text(std::string_view value) { return json::string(value.empty() ? kNone : value); }

json::value name(const Object& object, WallTime) { return json::string(object.meta.name); }

json::value since(std::optional<WallTime> time, WallTime now) {
  return json::string(time ? human_duration(now - *time) : "<unknown>");
}

json::value age(const Object& object, WallTime now) { return since(object.meta.creation_time, now); }

template <class T>
json::value ready(const Object& object, WallTime) {
  const auto* condition = api::find_condition(body<T>(object).status.conditions, "Ready");
  if (condition == nullptr) return "Unknown";
  switch (condition->status) {
    case api::ConditionStatus::True:
      return "True";
    case api::ConditionStatus::False:
      return "False";
    case api::ConditionStatus::Unknown:
      break;
  }
  return "Unknown";
}

template <class T>
json::value reason(const Object& object, WallTime) {
  const auto* condition = api::find_condition(body<T>(object).status.conditions, "Ready");
  return text(condition == nullptr ? "" : condition->reason);
}

const api::VirtualMachine& vm(const Object& object) { return body<api::VirtualMachine>(object); }

json::value vm_phase(const Object& object, WallTime) {
  if (object.meta.deletion_time) return "Deleting";
  const auto& phase = vm(object).status.phase;
  return json::string(phase.empty() ? "Pending" : phase);
}

json::value vm_address(const Object& object, WallTime) {
  const auto& interfaces = vm(object).status.network_interfaces;
  if (interfaces.empty()) return text("");
  const auto& address = interfaces.front().address;
  return text(std::string_view(address).substr(0, address.find('/')));
}

json::value vm_pending(const Object& object, WallTime) {
  std::string fields;
  for (const auto& change : vm(object).status.pending_changes) fields += (fields.empty() ? "" : ",") + change.field;
  return text(fields);
}

json::value vm_pid(const Object& object, WallTime) {
  const auto& vmm = vm(object).status.vmm;
  return vmm && vmm->pid > 0 ? json::value(vmm->pid) : text("");
}

const api::DiskStatus* root_disk(const Object& object) {
  const auto& disks = vm(object).status.disks;
  const auto root = std::ranges::find(disks, "root", &api::DiskStatus::name);
  return root == disks.end() ? nullptr : &*root;
}

json::value vm_backend(const Object& object, WallTime) {
  const auto* root = root_disk(object);
  return text(root == nullptr ? "" : root->backend);
}

json::value vm_cow(const Object& object, WallTime) {
  const auto* root = root_disk(object);
  if (root == nullptr || !root->cow_size) return text("");
  const auto size = api::format_quantity(*root->cow_size);
  const auto state = api::cow_state(vm(object).status.conditions);
  if (state == api::CowState::Invalid) return text("Invalid, " + size);
  if (state == api::CowState::Overflow) return text("Overflow of " + size);
  return text(root->cow_used_percent ? fmt::format("{}% of {}", *root->cow_used_percent, size) : size);
}

std::string vmm_name(const api::VirtualMachineStatus& status) {
  if (!status.vmm) return {};
  return status.vmm->version.empty() ? status.vmm->driver : fmt::format("{} {}", status.vmm->driver, status.vmm->version);
}

constexpr Column kVirtualMachine[] = {
    {"Name", "string", "name", 0, "Name of the virtual machine.", name},
    {"Status", "string", "", 0, "Phase as last observed.", vm_phase},
    {"Ready", "string", "", 0, "Condition Ready.", ready<api::VirtualMachine>},
    {"Restarts", "integer", "", 0, "Restarts by policy.",
     [](const Object& o, WallTime) { return json::value(vm(o).status.restart_count); }},
    {"Address", "string", "", 0, "Address of the first network interface.", vm_address},
    {"Age", "date", "", 0, "Time since creation.", age},
    {"Cpus", "integer", "", 1, "Virtual CPUs asked for.", [](const Object& o, WallTime) { return json::value(vm(o).spec.cpus); }},
    {"Memory", "string", "", 1, "Memory asked for.",
     [](const Object& o, WallTime) { return text(api::format_quantity(vm(o).spec.memory)); }},
    {"Image", "string", "", 1, "Image of the root disk.", [](const Object& o, WallTime) { return text(vm(o).spec.image); }},
    {"Kernel", "string", "", 1, "Kernel that boots it.", [](const Object& o, WallTime) { return text(vm(o).spec.kernel); }},
    {"Vmm", "string", "", 1, "Virtual machine monitor.", [](const Object& o, WallTime) { return text(vmm_name(vm(o).status)); }},
    {"Accelerator", "string", "", 1, "kvm or tcg.",
     [](const Object& o, WallTime) { return text(vm(o).status.vmm ? vm(o).status.vmm->accelerator : ""); }},
    {"Pid", "integer", "", 1, "Process of the monitor.", vm_pid},
    {"Pending", "string", "", 1, "Fields whose change waits for a restart.", vm_pending},
    {"Reason", "string", "", 1, "Reason of condition Ready.", reason<api::VirtualMachine>},
    {"Backend", "string", "", 1, "How the root disk is kept.", vm_backend},
    {"Cow", "string", "", 1, "Used of the space set aside for writes to the root disk.", vm_cow},
};

const api::Network& network(const Object& object) { return body<api::Network>(object); }
std::string_view first_of(std::string_view observed, std::string_view asked) { return observed.empty() ? asked : observed; }

constexpr Column kNetwork[] = {
    {"Name", "string", "name", 0, "Name of the network.", name},
    {"Cidr", "string", "", 0, "Address range.",
     [](const Object& o, WallTime) { return text(first_of(network(o).status.cidr, network(o).spec.cidr)); }},
    {"Gateway", "string", "", 0, "Address of the bridge.",
     [](const Object& o, WallTime) { return text(first_of(network(o).status.gateway, network(o).spec.gateway)); }},
    {"Bridge", "string", "", 0, "The host's bridge.",
     [](const Object& o, WallTime) { return text(first_of(network(o).status.bridge, network(o).spec.bridge)); }},
    {"Ready", "string", "", 0, "Condition Ready.", ready<api::Network>},
    {"Age", "date", "", 0, "Time since creation.", age},
    {"Mtu", "integer", "", 1, "MTU asked for.", [](const Object& o, WallTime) { return json::value(network(o).spec.mtu); }},
    {"Nat", "string", "", 1, "Whether the host translates addresses.",
     [](const Object& o, WallTime) { return text(network(o).spec.nat == api::NatMode::Enabled ? "Enabled" : "Disabled"); }},
    {"Reason", "string", "", 1, "Reason of condition Ready.", reason<api::Network>},
};

const api::Kernel& kernel(const Object& object) { return body<api::Kernel>(object); }

constexpr Column kKernel[] = {
    {"Name", "string", "name", 0, "Name of the kernel.", name},
    {"Source", "string", "", 0, "Where it comes from.",
     [](const Object& o, WallTime) {
       return text(kernel(o).spec.source == api::KernelSource::HostPackage ? "HostPackage" : "File");
     }},
    {"Version", "string", "", 0, "Release of the kernel.",
     [](const Object& o, WallTime) { return text(kernel(o).status.version); }},
    {"Ready", "string", "", 0, "Condition Ready.", ready<api::Kernel>},
    {"Age", "date", "", 0, "Time since creation.", age},
    {"Path", "string", "", 1, "The kernel's file.",
     [](const Object& o, WallTime) { return text(first_of(kernel(o).status.path, kernel(o).spec.path)); }},
    {"Initrd", "string", "", 1, "The initial RAM disk.",
     [](const Object& o, WallTime) { return text(first_of(kernel(o).status.initrd, kernel(o).spec.initrd)); }},
    {"Reason", "string", "", 1, "Reason of condition Ready.", reason<api::Kernel>},
};

const api::Image& image(const Object& object) { return body<api::Image>(object); }

constexpr Column kImage[] = {
    {"Name", "string", "name", 0, "Name of the image.", name},
    {"Source", "string", "", 0, "File on the host.", [](const Object& o, WallTime) { return text(image(o).spec.path); }},
    {"Size", "string", "", 0, "Size of the file system.",
     [](const Object& o, WallTime) {
       const auto size = image(o).status.size;
       return text(size.value == 0 ? "" : api::format_quantity(size));
     }},
    {"Ready", "string", "", 0, "Condition Ready.", ready<api::Image>},
    {"Age", "date", "", 0, "Time since creation.", age},
    {"Format", "string", "", 1, "Format of the source.", [](const Object& o, WallTime) { return text(image(o).status.format); }},
    {"Digest", "string", "", 1, "Digest of the source.",
     [](const Object& o, WallTime) { return text(first_of(image(o).status.digest, image(o).spec.digest)); }},
    {"Reason", "string", "", 1, "Reason of condition Ready.", reason<api::Image>},
};

const api::AddressLease& lease(const Object& object) { return body<api::AddressLease>(object); }

constexpr Column kAddressLease[] = {
    {"Name", "string", "name", 0, "Network and address.", name},
    {"Network", "string", "", 0, "The network.", [](const Object& o, WallTime) { return text(lease(o).spec.network); }},
    {"Address", "string", "", 0, "The leased address.", [](const Object& o, WallTime) { return text(lease(o).spec.address); }},
    {"Holder", "string", "", 0, "The virtual machine that holds it.",
     [](const Object& o, WallTime) { return text(fmt::format("{}/{}", lease(o).spec.vm_namespace, lease(o).spec.vm_name)); }},
    {"Age", "date", "", 0, "Time since creation.", age},
    {"Uid", "string", "", 1, "The holder's uid.", [](const Object& o, WallTime) { return text(lease(o).spec.vm_uid); }},
};

const api::ManifestSource& source(const Object& object) { return body<api::ManifestSource>(object); }

json::value refused_files(const Object& object, WallTime) {
  return std::ranges::count_if(source(object).status.files, [](const auto& file) { return file.state != "Applied"; });
}

constexpr Column kManifestSource[] = {
    {"Name", "string", "name", 0, "Name of the source.", name},
    {"Directory", "string", "", 0, "The watched directory.",
     [](const Object& o, WallTime) { return text(source(o).spec.directory); }},
    {"Files", "integer", "", 0, "Manifest files seen.",
     [](const Object& o, WallTime) { return json::value(source(o).status.files.size()); }},
    {"Refused", "integer", "", 0, "Files that are not applied.", refused_files},
    {"Waiting", "integer", "", 0, "Removals that wait for a confirmation.",
     [](const Object& o, WallTime) { return json::value(source(o).status.waiting_removals.size()); }},
    {"Ready", "string", "", 0, "Condition Ready.", ready<api::ManifestSource>},
    {"Age", "date", "", 0, "Time since creation.", age},
    {"Reason", "string", "", 1, "Reason of condition Ready.", reason<api::ManifestSource>},
};

const api::Event& event(const Object& object) { return body<api::Event>(object); }

constexpr Column kEvent[] = {
    {"Last Seen", "string", "", 0, "Time since it happened last.",
     [](const Object& o, WallTime now) { return since(event(o).last_time ? event(o).last_time : o.meta.creation_time, now); }},
    {"Type", "string", "", 0, "Normal or Warning.",
     [](const Object& o, WallTime) { return text(event(o).type == api::EventType::Normal ? "Normal" : "Warning"); }},
    {"Reason", "string", "", 0, "What happened, in a word.", [](const Object& o, WallTime) { return text(event(o).reason); }},
    {"Object", "string", "", 0, "What it happened to.",
     [](const Object& o, WallTime) {
       return text(fmt::format("{}/{}", api::info(event(o).involved.kind).singular, event(o).involved.name));
     }},
    {"Count", "integer", "", 0, "How often.", [](const Object& o, WallTime) { return json::value(event(o).count); }},
    {"Message", "string", "", 0, "What happened, in a sentence.",
     [](const Object& o, WallTime) { return text(event(o).message); }},
    {"First Seen", "string", "", 1, "Time since it happened first.",
     [](const Object& o, WallTime now) { return since(event(o).first_time ? event(o).first_time : o.meta.creation_time, now); }},
    {"Name", "string", "name", 1, "Name of the event.", name},
};

}  // namespace

std::span<const Column> columns_of(api::Kind kind) {
  switch (kind) {
    case api::Kind::Network:
      return kNetwork;
    case api::Kind::Kernel:
      return kKernel;
    case api::Kind::Image:
      return kImage;
    case api::Kind::VirtualMachine:
      return kVirtualMachine;
    case api::Kind::AddressLease:
      return kAddressLease;
    case api::Kind::ManifestSource:
      return kManifestSource;
    case api::Kind::Event:
      return kEvent;
  }
  return {};
}

}  // namespace banger::server
