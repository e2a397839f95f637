// SPDX-License-Identifier: Apache-2.0
#include "actuators/record.hpp"

#include <fmt/format.h>

#include "api/codec.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::actuators {
namespace {

bool keeps_record(api::Kind kind) { return kind == api::Kind::Network || kind == api::Kind::Image || kind == api::Kind::Kernel; }

struct Keep {
  // A range that was picked stays; mtu and nameservers follow from the spec and the host.
  void operator()(api::Network& network) const {
    network.status = {.cidr = network.status.cidr, .gateway = network.status.gateway, .bridge = network.status.bridge};
  }
  void operator()(api::Image& image) const {
    image.status.observed_generation = 0;
    image.status.conditions.clear();
  }
  void operator()(api::Kernel& kernel) const { kernel.status.conditions.clear(); }
  template <class Other>
  void operator()(Other&) const {}
};

}  // namespace

api::Object record_of(const api::Object& object) {
  api::Object record = object;
  std::visit(Keep{}, record.body);
  return record;
}

bool is_record_of(const api::Object& record, const api::Object& object) {
  auto wanted = record_of(object);
  wanted.meta.resource_version = record.meta.resource_version;
  return record == wanted;
}

api::Object object_of(const Sidecar& sidecar) {
  api::Object object{.meta = sidecar.meta, .body = api::VirtualMachine{.spec = sidecar.spec, .status = {}}};
  if (!sidecar.meta.uid.empty()) return object;
  object.meta.name = sidecar.name;
  object.meta.ns = sidecar.ns;
  object.meta.uid = sidecar.uid;
  object.meta.generation = sidecar.generation;
  object.body = api::VirtualMachine{.spec = sidecar.launched_spec, .status = {}};
  return object;
}

std::string encode_record(const api::Object& record) { return api::encode_text(record) + "\n"; }

Result<api::Object> decode_record(std::string_view text) {
  auto object = api::decode_stored(text);
  if (!object) return fail(invalid("object.json cannot be read: " + object.error().message));
  if (!keeps_record(api::kind_of(*object))) {
    return fail(invalid(
        fmt::format("object.json is of kind {}: expected Network, Image or Kernel", api::info(api::kind_of(*object)).name)));
  }
  const auto& meta = object->meta;
  if (!is_uid(meta.uid)) return fail(invalid(fmt::format("object.json has no valid uid, but \"{}\"", printable(meta.uid))));
  if (meta.name.empty() || meta.generation == 0) return fail(invalid("object.json has no name or no generation"));
  return object;
}

}  // namespace banger::actuators
