// SPDX-License-Identifier: Apache-2.0
// A plan as text for people: plan.yaml of the golden cases.
#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>

#include "actuators/boot_config.hpp"
#include "api/codec.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/plan_forms_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

namespace json = boost::json;

json::object changed_members(const json::object& from, const json::object& to) {
  json::object changed;
  for (const auto& [key, value] : to) {
    const auto* old = from.if_contains(key);
    if (old != nullptr && *old == value) continue;
    if (old != nullptr && old->is_object() && value.is_object()) {
      changed[key] = changed_members(old->get_object(), value.get_object());
    } else {
      changed[key] = value;
    }
  }
  for (const auto& [key, value] : from) {
    if (to.if_contains(key) == nullptr) changed[key] = nullptr;
  }
  return changed;
}

// The object that a record holds is that of the case; whether it is written at all is seen by the step.
json::object json_of(const actuators::Sidecar& sidecar, const PlanCase& given) {
  json::object out;
  const auto all = json::parse(actuators::encode_sidecar(sidecar));
  for (const auto& [key, value] : all.get_object()) {
    if (key != "metadata" && key != "spec") out[key] = value;
  }
  const auto& vm = std::get<api::VirtualMachine>(given.vm.body);
  const bool same = sidecar.spec == vm.spec && sidecar.meta.uid == given.vm.meta.uid &&
                    sidecar.meta.labels == given.vm.meta.labels && sidecar.meta.generation == given.vm.meta.generation &&
                    sidecar.meta.deletion_time == given.vm.meta.deletion_time;
  out["object"] = same ? "as wanted" : "as it was";
  return out;
}

json::array list(const std::vector<std::string>& texts) { return json::array(texts.begin(), texts.end()); }

// The arguments of a step that a reader wants to see; the VM's own uid is left out.
struct Arguments {
  const PlanCase& given;

  json::object operator()(const actuators::MakeVmDirectory& s) const {
    return {{"addresses", list(s.addresses)}, {"port", s.port}};
  }
  json::object operator()(const actuators::WriteSidecar& s) const {
    const auto& old = given.observed.host.sidecar;
    return {{"changes", changed_members(old ? json_of(*old, given) : json::object{}, json_of(s.sidecar, given))}};
  }
  json::object operator()(const actuators::WriteVmInitrd& s) const {
    json::array lines;
    const auto text = actuators::boot_config_text(s.config);
    for (const auto line : split(text, '\n')) {
      if (!line.empty()) lines.emplace_back(line);
    }
    return {{"base", s.base_initrd}, {"config", lines}};
  }
  json::object operator()(const actuators::MakeTap& s) const { return {{"tap", s.name}, {"bridge", s.bridge}, {"mtu", s.mtu}}; }
  json::object operator()(const actuators::RemoveLink& s) const { return {{"link", s.name}}; }
  json::object operator()(const actuators::LaunchVmm& s) const {
    json::array disks;
    for (const auto& disk : s.disks) {
      auto& row = disks.emplace_back(json::value{{"name", disk.name}, {"path", disk.path}});
      if (!disk.lock_path.empty()) row.get_object()["lock"] = disk.lock_path;
    }
    json::array nics;
    for (const auto& nic : s.nics) {
      auto& row = nics.emplace_back(json::value{{"tap", nic.tap}, {"mac", nic.mac}});
      if (nic.mtu != 1500) row.get_object()["mtu"] = nic.mtu;
    }
    return {{"cpus", s.cpus},
            {"memory", api::format_quantity(s.memory)},
            {"kernel", s.kernel_path},
            {"initrd", s.initrd_path},
            {"kernelArgs", list(s.kernel_args)},
            {"disks", disks},
            {"nics", nics}};
  }
  json::object operator()(const actuators::StartJob& s) const {
    json::object out{{"job", s.key.name}};
    if (const auto* root = std::get_if<actuators::MakeRootDisk>(&s.spec)) {
      out["base"] = root->base_path;
      out["size"] = api::format_quantity(root->size);
      if (root->cow_size.value != 0) out["cow"] = api::format_quantity(root->cow_size);
    } else if (const auto* data = std::get_if<actuators::MakeDataDisk>(&s.spec)) {
      out["disk"] = data->disk;
      out["size"] = api::format_quantity(data->size);
    } else if (const auto* sync = std::get_if<actuators::SyncGuest>(&s.spec)) {
      out["address"] = sync->target.address;
      out["nonce"] = sync->nonce;
    } else if (const auto* probe = std::get_if<actuators::ProbeSsh>(&s.spec)) {
      out["address"] = probe->target.address;
    }
    return out;
  }
  json::object operator()(const actuators::ActivateRootDisk& s) const { return {{"size", api::format_quantity(s.size)}}; }
  json::object operator()(const actuators::GrowRootCow& s) const { return {{"size", api::format_quantity(s.size)}}; }
  json::object operator()(const actuators::ForgetJob& s) const { return {{"job", s.key.name}}; }
  template <class Other>
  json::object operator()(const Other&) const {
    return {};
  }
};

json::object json_of(const PlanCase& given, const actuators::Step& step) {
  json::object out{{"do", actuators::name_of(step)}};
  for (const auto& [key, value] : std::visit(Arguments{given}, step)) out[key] = value;
  return out;
}

json::array json_of(const std::vector<api::AddressLeaseSpec>& leases) {
  json::array out;
  for (const auto& lease : leases)
    out.emplace_back(fmt::format("{} {} for interface {}", lease.network, lease.address, lease.interface_index));
  return out;
}

std::string_view text_of(api::ConditionStatus status) {
  if (status == api::ConditionStatus::True) return "True";
  return status == api::ConditionStatus::False ? "False" : "Unknown";
}

json::array steps_of(const PlanCase& given, const Plan& plan) {
  json::array steps;
  for (const auto& each : plan.steps) {
    json::object out{{"name", each.name}};
    for (const auto& [key, value] : json_of(given, each.step)) out[key] = value;
    json::array undo;
    for (const auto& back : each.undo) undo.emplace_back(actuators::describe(back));
    if (!undo.empty()) out["undo"] = std::move(undo);
    if (!each.told_in.empty()) out["toldIn"] = each.told_in;
    steps.emplace_back(std::move(out));
  }
  return steps;
}

void add_list(json::object& out, std::string_view key, json::array list) {
  if (!list.empty()) out[key] = std::move(list);
}

}  // namespace

std::string write_plan(const PlanCase& given, const Plan& plan) {
  static constexpr std::array<std::string_view, 3> kOperations{"None", "Start", "Stop"};
  static constexpr std::array<std::string_view, 3> kFinalizer{"Keep", "Add", "Remove"};
  json::object out{{"phase", plan.phase}, {"operation", kOperations.at(static_cast<std::size_t>(plan.operation))}};
  if (plan.finalizer != FinalizerChange::Keep) out["finalizer"] = kFinalizer.at(static_cast<std::size_t>(plan.finalizer));
  add_list(out, "claims", json_of(plan.claims));
  out["steps"] = steps_of(given, plan);
  add_list(out, "releases", json_of(plan.releases));
  json::array conditions;
  for (const auto& finding : plan.findings)
    conditions.emplace_back(fmt::format("{}={} {}: {}", finding.type, text_of(finding.status), finding.reason, finding.message));
  add_list(out, "conditions", std::move(conditions));
  json::array events;
  for (const auto& event : plan.events)
    events.emplace_back(
        fmt::format("{} {}: {}", event.type == api::EventType::Normal ? "Normal" : "Warning", event.reason, event.message));
  add_list(out, "events", std::move(events));
  json::array progress;
  for (const auto& each : plan.progress) progress.emplace_back(fmt::format("{} {}", each.name, each.state));
  add_list(out, "progress", std::move(progress));
  json::array pending;
  for (const auto& each : plan.pending)
    pending.emplace_back(fmt::format("{} ({}): {} → {}", each.field, each.update_class, each.from, each.to));
  add_list(out, "pending", std::move(pending));
  if (plan.error) out["error"] = plan.error->message;
  out["lookAgain"] = plan.look_again ? fmt::format("{} ms", plan.look_again->count()) : "on change";
  return api::yaml_of(out);
}

}  // namespace banger::reconcilers::virtual_machine
