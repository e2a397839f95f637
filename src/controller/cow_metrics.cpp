// SPDX-License-Identifier: Apache-2.0
#include "controller/cow_metrics.hpp"

#include <algorithm>

#include "api/cow_state.hpp"
#include "store/visit.hpp"

namespace banger::controller {

void publish_cow_fill(store::Objects& objects, Metrics& metrics) {
  Metrics::Values used;
  Metrics::Values size;
  Metrics::Values overflow;
  Metrics::Values invalid;
  const auto see = [&](const api::Object& object) {
    const auto* vm = std::get_if<api::VirtualMachine>(&object.body);
    if (vm == nullptr) return;
    const auto root = std::ranges::find(vm->status.disks, "root", &api::DiskStatus::name);
    if (root == vm->status.disks.end() || !root->cow_size || !root->cow_used_percent) return;
    const Labels labels{{"namespace", object.meta.ns}, {"name", object.meta.name}};
    const auto bytes = static_cast<double>(root->cow_size->value);
    size.emplace_back(labels, bytes);
    const auto state = api::cow_state(vm->status.conditions);
    overflow.emplace_back(labels, state == api::CowState::Overflow ? 1 : 0);
    invalid.emplace_back(labels, state == api::CowState::Invalid ? 1 : 0);
    if (state == api::CowState::Invalid) return;  // of it the kernel tells nothing more
    used.emplace_back(labels, bytes * static_cast<double>(*root->cow_used_percent) / 100);
  };
  if (!store::visit(objects.store(), {.kind = api::Kind::VirtualMachine, .ns = {}}, see)) return;
  metrics.set_gauges("banger_root_disk_cow_size_bytes", "Size of a root disk's copy-on-write file.", size);
  metrics.set_gauges("banger_root_disk_cow_used_bytes", "How much of a root disk's copy-on-write file is taken.", used);
  metrics.set_gauges("banger_root_disk_cow_overflow", "1 where a root disk's copy-on-write file is full and writes fail.",
                     overflow);
  metrics.set_gauges("banger_root_disk_cow_invalid", "1 where the kernel gave a root disk's snapshot up.", invalid);
}

}  // namespace banger::controller
