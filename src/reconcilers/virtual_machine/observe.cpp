// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/observe.hpp"

#include "base/random.hpp"
#include "reconcilers/virtual_machine/situation.hpp"
#include "store/visit.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

template <class Status>
Readiness readiness_of(const Status& status, const api::ObjectMeta& meta) {
  Readiness state{.found = true, .ready = false, .message = ""};
  if (meta.deletion_time) {
    state.message = "it is being deleted";
    return state;
  }
  if (const auto* ready = api::find_condition(status.conditions, "Ready")) {
    state.ready = ready->status == api::ConditionStatus::True;
    state.message = ready->message;
  }
  return state;
}

Result<std::optional<api::Object>> find(Ports& ports, api::Kind kind, const std::string& name) {
  auto object = ports.objects.store().get({.kind = kind, .ns = "", .name = name});
  if (object) return *std::move(object);
  if (object.error().code == ErrorCode::NotFound) return std::nullopt;
  return fail(std::move(object).error());
}

const api::Object* pointer(const std::optional<api::Object>& object) { return object ? &*object : nullptr; }

// The recorded interfaces are those of the spec, and each holds its address: nothing is to be claimed or given back.
bool holds_all(const api::VirtualMachineSpec& spec, const std::string& uid, const Observed& observed) {
  const auto& sidecar = observed.host.sidecar;
  const auto& wanted = spec.network_interfaces;
  if (!sidecar || sidecar->nics.size() != wanted.size() || observed.leases.size() != wanted.size()) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& lease = observed.leases[i];
    const auto index = static_cast<std::int64_t>(i);
    if (lease.vm_uid != uid || lease.interface_index != index || lease.network != wanted[i].network) return false;
    if (wanted[i].address && *wanted[i].address != lease.address) return false;
  }
  return true;
}

// Everything that the VM holds, and, where it is wanted, what is leased to anyone in the networks that it is on.
Result<void> list_leases(Ports& ports, const std::string& uid, bool wanted, Observed& observed) {
  const auto seen =
      store::visit(ports.objects.store(), {.kind = api::Kind::AddressLease, .ns = std::nullopt}, [&](const api::Object& object) {
        const auto& lease = std::get<api::AddressLease>(object.body).spec;
        const bool rival = wanted && observed.networks.contains(lease.network);
        if (lease.vm_uid == uid || rival) observed.leases.push_back(lease);
      });
  return seen ? Result<void>{} : fail(seen.error());
}

}  // namespace

ImageFacts image_facts(const api::Object* object) {
  if (object == nullptr) return {};
  const auto& status = std::get<api::Image>(object->body).status;
  return {.state = readiness_of(status, object->meta), .path = status.path, .digest = status.digest, .size = status.size};
}

KernelFacts kernel_facts(const api::Object* object) {
  if (object == nullptr) return {};
  const auto& kernel = std::get<api::Kernel>(object->body);
  return {.state = readiness_of(kernel.status, object->meta),
          .path = kernel.status.path,
          .initrd = kernel.status.initrd,
          .args = kernel.spec.args};
}

NetworkFacts network_facts(const api::Object* object) {
  if (object == nullptr) return {};
  const auto& status = std::get<api::Network>(object->body).status;
  return {.state = readiness_of(status, object->meta),
          .uid = object->meta.uid,
          .cidr = status.cidr,
          .gateway = status.gateway,
          .bridge = status.bridge,
          .mtu = status.mtu,
          .nameservers = status.nameservers};
}

api::ObjectKey lease_key(const std::string& network, const std::string& address) {
  return {.kind = api::Kind::AddressLease, .ns = "", .name = network + "." + address};
}

api::ObjectKey lease_key_of(const actuators::NicRecord& nic) {
  return lease_key(nic.network, nic.address.substr(0, nic.address.find('/')));
}

const NetworkFacts& network_named(const Context& context, const std::string& name) {
  static const NetworkFacts kNone;
  const auto found = context.networks.find(name);
  return found == context.networks.end() ? kNone : found->second;
}

std::vector<api::AddressLeaseSpec> leases_in_use(store::Objects& objects, const actuators::VmView& host) {
  std::vector<api::AddressLeaseSpec> leases;
  if (!host.sidecar) return leases;
  for (const auto& nic : host.sidecar->nics) {
    const auto lease = objects.store().get(lease_key_of(nic));
    if (lease) leases.push_back(std::get<api::AddressLease>(lease->body).spec);
  }
  return leases;
}

Result<Observed> observe(Ports& ports, const actuators::Layout& layout, const api::Object& vm) {
  const auto& spec = std::get<api::VirtualMachine>(vm.body).spec;
  Observed observed;
  observed.now = ports.clock.wall();
  observed.layout = layout;
  observed.fresh_nonce = random_hex(ports.random, 32);
  BGR_TRY(observed.host, ports.host.observe_vm(vm.meta.uid, spec.network_interfaces.size()));
  BGR_TRY(const auto image, find(ports, api::Kind::Image, spec.image));
  observed.image = image_facts(pointer(image));
  BGR_TRY(const auto kernel, find(ports, api::Kind::Kernel, spec.kernel));
  observed.kernel = kernel_facts(pointer(kernel));
  for (const auto& nic : spec.network_interfaces) {
    BGR_TRY(const auto network, find(ports, api::Kind::Network, nic.network));
    observed.networks.emplace(nic.network, network_facts(pointer(network)));
  }
  // A listing costs as much as there are VMs; most passes can do without.
  observed.leases = leases_in_use(ports.objects, observed.host);
  const bool running = is_alive(observed.host.vmm) && observed.host.sidecar;
  // One that is being deleted gives its addresses back when nothing of it is left, its directory last.
  const bool enough = vm.meta.deletion_time ? observed.host.directory_exists : running || holds_all(spec, vm.meta.uid, observed);
  if (!enough) {
    observed.leases.clear();
    BGR_CHECK(list_leases(ports, vm.meta.uid, !vm.meta.deletion_time, observed));
  }
  return observed;
}

}  // namespace banger::reconcilers::virtual_machine
