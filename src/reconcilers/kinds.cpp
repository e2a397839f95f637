// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/kinds.hpp"

#include "api/builtins.hpp"
#include "reconcilers/image/reconciler.hpp"
#include "reconcilers/kernel/reconciler.hpp"
#include "reconcilers/network/reconciler.hpp"
#include "reconcilers/virtual_machine/reconciler.hpp"

namespace banger::reconcilers {

std::vector<std::unique_ptr<Reconciler>> make_reconcilers(Ports ports, const actuators::Layout& layout) {
  std::vector<std::unique_ptr<Reconciler>> all;
  all.push_back(std::make_unique<network::NetworkReconciler>(ports));
  all.push_back(std::make_unique<kernel::KernelReconciler>(ports));
  all.push_back(std::make_unique<image::ImageReconciler>(ports));
  all.push_back(std::make_unique<virtual_machine::VirtualMachineReconciler>(ports, layout));
  return all;
}

Result<void> ensure_builtins(store::Objects& objects) {
  api::Object network;
  network.meta.name = api::kBuiltinNetwork;
  network.body = api::Network{};
  api::Object kernel;
  kernel.meta.name = api::kBuiltinKernel;
  kernel.body = api::Kernel{.spec = {.source = api::KernelSource::HostPackage}, .status = {}};
  for (const auto& object : {network, kernel}) {
    const auto created = objects.create(object);
    if (!created && created.error().error.code != ErrorCode::AlreadyExists)
      return fail(with_context(created.error().error, "creating " + api::to_string(api::key_of(object))));
  }
  return {};
}

}  // namespace banger::reconcilers
