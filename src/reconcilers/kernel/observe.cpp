// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/kernel/observe.hpp"

namespace banger::reconcilers::kernel {

Result<Observed> observe(Ports& ports, const api::Object& kernel) {
  Observed observed{.now = ports.clock.wall(), .host = {}};
  const auto& spec = std::get<api::Kernel>(kernel.body).spec;
  const auto path = spec.source == api::KernelSource::HostPackage ? std::string() : spec.path;
  BGR_TRY(observed.host, ports.host.observe_kernel({.uid = kernel.meta.uid, .path = path, .initrd = spec.initrd}));
  return observed;
}

}  // namespace banger::reconcilers::kernel
