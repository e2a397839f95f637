// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/kernel_objects.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "api/codec.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/root_disk.hpp"
#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

constexpr const char* kPresent = "present";
constexpr const char* kAbsent = "absent";

const char* presence(bool there) { return there ? kPresent : kAbsent; }

api::KernelObjectStatus process_of(const Situation& at, const char* desired) {
  api::KernelObjectStatus row{.type = "process", .name = "", .desired = desired, .observed = kAbsent, .detail = "the VMM"};
  if (at.vmm == nullptr) return row;
  const auto& view = at.host.vmm;
  row.name = fmt::format("pid {}", at.vmm->pid);
  row.observed = kPresent;
  row.detail = fmt::format("{} {}, {}{}", view.driver, view.version, view.accelerator,
                           view.accelerator_reason.empty() ? "" : fmt::format(" ({})", view.accelerator_reason));
  return row;
}

std::string link_detail(const actuators::LinkView& link) {
  auto detail = std::string(link.leaving ? "being removed" : link.up ? "up" : "down");
  return link.master.empty() ? detail + ", on no bridge" : fmt::format("{}, on {}", detail, link.master);
}

void add_taps(std::vector<api::KernelObjectStatus>& rows, const Situation& at, const char* desired) {
  std::vector<std::string> wanted;
  for (std::size_t i = 0; i < at.spec.network_interfaces.size(); ++i) wanted.push_back(actuators::tap_name(at.uid, i));
  for (const auto& name : wanted) {
    const bool seen = std::ranges::find(at.host.links, name, &actuators::LinkView::name) != at.host.links.end();
    if (!seen) rows.push_back({.type = "tap", .name = name, .desired = desired, .observed = kAbsent, .detail = ""});
  }
  for (const auto& link : at.host.links) {
    const bool ours = own_tap(at, link.name) != nullptr;
    const bool expected = std::ranges::find(wanted, link.name) != wanted.end();
    rows.push_back({.type = "tap",
                    .name = printable(link.name),
                    .desired = expected ? desired : kAbsent,
                    .observed = ours ? kPresent : "foreign",
                    .detail = ours ? link_detail(link) : "not made by bangerd, left alone"});
  }
}

void add_disks(std::vector<api::KernelObjectStatus>& rows, const Situation& at) {
  const char* desired = presence(!at.object.meta.deletion_time);
  std::vector<std::string> wanted{"root"};
  for (const auto& disk : at.spec.disks) wanted.push_back(disk.name);
  for (const auto& name : wanted) {
    if (find_disk(at, name) != nullptr) continue;
    const auto& layout = at.observed.layout;
    const auto path = name == "root" && own_node(at) != nullptr ? actuators::root_cow_path(layout, at.uid)
                      : name == "root"                          ? actuators::root_disk_path(layout, at.uid)
                                                                : actuators::data_disk_path(layout, at.uid, name);
    rows.push_back({.type = "file", .name = path, .desired = desired, .observed = kAbsent, .detail = "disk " + name});
  }
  for (const auto& disk : at.host.disks) {
    rows.push_back({.type = "file", .name = disk.path, .desired = desired, .observed = kPresent, .detail = "disk " + disk.name});
  }
}

// The device of a root disk kept as a dm-snapshot, and the loops over the VM's files.
void add_devices(std::vector<api::KernelObjectStatus>& rows, const Situation& at, const char* desired) {
  const auto* node = own_node(at);
  if (at.host.snapshot) {
    const auto state = node == nullptr   ? std::string("not made by bangerd, left alone")
                       : !node->live     ? "without a table"
                       : node->invalid   ? "invalid"
                       : node->suspended ? "suspended"
                       : node->overflow
                           ? "full"
                           : fmt::format("{} % of {} used", used_percent(*node), api::format_quantity(node->cow_size));
    rows.push_back({.type = "dm device",
                    .name = printable(at.host.snapshot->name),
                    .desired = node == nullptr ? kAbsent : desired,
                    .observed = node == nullptr ? "foreign" : kPresent,
                    .detail = state});
  } else if (is_snapshot(at)) {
    const auto unseen = unseen_device(at);
    rows.push_back({.type = "dm device",
                    .name = actuators::dm_name(at.uid),
                    .desired = desired,
                    .observed = unseen.empty() ? kAbsent : "unknown",
                    .detail = unseen});
  }
  for (const auto& loop : at.host.loops) {
    const bool ours = loop.autoclear && (loop.read_only || loop.label == actuators::cow_loop_label(at.uid));
    rows.push_back({.type = "loop",
                    .name = loop.device,
                    .desired = ours ? desired : kAbsent,
                    .observed = ours ? kPresent : "foreign",
                    .detail = "over " + printable(loop.backing) + (ours ? "" : ", not made by bangerd, left alone")});
  }
}

}  // namespace

std::vector<api::KernelObjectStatus> kernel_objects(const api::Object& vm, const Observed& observed, const Plan& plan) {
  const auto at = look_at(vm, observed, observed.host);
  const bool over = plan.phase == "Stopped" || plan.phase == "Failed";  // by its policy it is not started again
  const char* desired = presence(!vm.meta.deletion_time && at.spec.power_state == api::PowerState::Running && !over);
  std::vector<api::KernelObjectStatus> rows{process_of(at, desired)};
  const auto& host = at.host.vmm;
  for (const auto& process : host.processes) {
    if (!process.is_shim) continue;
    rows.push_back({.type = "process",
                    .name = fmt::format("pid {}", process.pid),
                    .desired = desired,
                    .observed = kPresent,
                    .detail = "banger-shim, the VMM's parent"});
  }
  rows.push_back({.type = "cgroup",
                  .name = actuators::cgroup_name(at.uid),
                  .desired = desired,
                  .observed = at.strangers.empty() ? presence(host.cgroup_exists) : "foreign",
                  .detail = !at.strangers.empty()   ? "has processes that are not ours, left alone: " + list_of(at.strangers)
                            : !host.cgroup_exists   ? ""
                            : host.cgroup_populated ? "with processes"
                                                    : "empty"});
  add_taps(rows, at, desired);
  add_devices(rows, at, desired);
  add_disks(rows, at);
  return rows;
}

}  // namespace banger::reconcilers::virtual_machine
