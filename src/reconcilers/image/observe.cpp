// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/image/observe.hpp"

namespace banger::reconcilers::image {

Result<Observed> observe(Ports& ports, const api::Object& image) {
  Observed observed{.now = ports.clock.wall(), .host = {}};
  const auto& path = std::get<api::Image>(image.body).spec.path;
  BGR_TRY(observed.host, ports.host.observe_image({.uid = image.meta.uid, .source_path = path}));
  return observed;
}

}  // namespace banger::reconcilers::image
