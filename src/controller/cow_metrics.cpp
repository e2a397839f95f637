// SPDX-License-Identifier: Apache-2.0
#include "controller/cow_metrics.hpp"

#include <algorithm>

#include "store/visit.hpp"

namespace banger::controller {

void publish_cow_fill(store::Objects& objects, Metrics& metrics) {
  Metrics::Values used;
  Metrics::Values size;
  const auto see = [&](const api::Object& object) {
    const auto* vm = std::get_if<api::VirtualMachine>(&object.body);
    if (vm == nullptr) return;
    const auto root = std::ranges::find(vm->status.disks, "root", &api::DiskStatus::name);
    if (root == vm->status.disks.end() || !root->cow_size || !root->cow_used_percent) return;
    const Labels labels{{"namespace", object.meta.ns}, {"name", object.meta.name}};
    const auto bytes = static_cast<double>(root->cow_size->value);
    size.emplace_back(labels, bytes);
    used.emplace_back(labels, bytes * static_cast<double>(*root->cow_used_percent) / 100);
  };
  if (!store::visit(objects.store(), {.kind = api::Kind::VirtualMachine, .ns = {}}, see)) return;
  metrics.set_gauges("banger_root_disk_cow_size_bytes", "Size of a root disk's copy-on-write file.", size);
  metrics.set_gauges("banger_root_disk_cow_used_bytes", "How much of a root disk's copy-on-write file is taken.", used);
}

}  // namespace banger::controller
