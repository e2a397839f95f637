// SPDX-License-Identifier: Apache-2.0
// What must hold once nothing goes wrong any more: it comes to rest, it is what was wanted, it stays so, and it can be deleted.
#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "sim/simulation.hpp"
#include "store/visit.hpp"

namespace banger::simulation {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr milliseconds kLook = seconds(7);
constexpr milliseconds kQuiet = seconds(38);  // longer than a resync, and than the slowest look at something at rest

constexpr std::array kReconciled{api::Kind::Network, api::Kind::Kernel, api::Kind::Image, api::Kind::VirtualMachine,
                                 api::Kind::AddressLease};

const api::VirtualMachineStatus& status_of(const api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).status; }
const api::VirtualMachineSpec& spec_of(const api::Object& vm) { return std::get<api::VirtualMachine>(vm.body).spec; }

std::string said(const std::vector<api::Condition>& conditions, std::string_view type) {
  const auto* found = api::find_condition(conditions, type);
  if (found == nullptr) return "absent";
  const char* status = found->status == api::ConditionStatus::True    ? "True"
                       : found->status == api::ConditionStatus::False ? "False"
                                                                      : "Unknown";
  return fmt::format("{} {} ({})", status, found->reason, found->message);
}

bool is_true(const std::vector<api::Condition>& conditions, std::string_view type) {
  const auto* found = api::find_condition(conditions, type);
  return found != nullptr && found->status == api::ConditionStatus::True;
}

std::vector<api::Object> all_of(store::Store& store, api::Kind kind) {
  std::vector<api::Object> all;
  (void)store::visit(store, {.kind = kind, .ns = std::nullopt}, [&](const api::Object& object) { all.push_back(object); });
  return all;
}

bool foreign_things(const actuators::VmView& view) {
  const bool link = std::ranges::any_of(view.links, [&](const auto& each) { return each.owner != view.uid; });
  const bool loop = std::ranges::any_of(view.loops, [](const auto& each) { return each.label == "other"; });
  return link || loop || (view.snapshot && !view.snapshot->ours);
}

}  // namespace

// Nothing goes wrong from now on, and what a person would mend is mended.
void Simulation::freeze() {
  trace_.line("--- faults end");
  faults_.clear();
  host_.set_hints(0, 0, 0);
  host_.set_slow_jobs(0);
  for (const auto* job : {"build", "initrd", "root-disk", "disk-data", "sync", "probe"}) sim_.fail_jobs(job, std::nullopt);
  host_.set_disk_full(false);
  platter_.full = false;
  disk_full_until_ = {};
  sim_.set_space(actuators::SpaceLevel::Plenty);
  sim_.set_free_loops(std::nullopt);
  sim_.hold_kills(false);
  sim_.reap();
  if (!daemon_) down_until_ = clock_.steady();
  advance(milliseconds{1});
  if (ledger_.violation() || objects() == nullptr) return;
  for (const auto& vm : all_of(objects()->store(), api::Kind::VirtualMachine)) {
    const auto& uid = vm.meta.uid;
    auto& facts = ledger_.of(uid);
    facts.reachable = facts.honest = true;
    sim_.set_guest_reachable(uid, true);
    sim_.set_sync_answer(uid, actuators::sim::SyncAnswer::Confirms);
    const auto view = sim_.observe_vm(uid, 0);
    if (view->vmm.monitor == actuators::MonitorState::Unreachable || view->vmm.monitor == actuators::MonitorState::IoError) {
      sim_.set_monitor(uid, actuators::MonitorState::Running);
      facts.running = true;
    }
  }
  for (const auto& uid : ledger_.uids()) {  // also of what the database has forgotten
    if (!uid.empty()) sim_.remove_strays(uid);
  }
  (void)daemon_->adopt_mode.leave("the manifests were read");
  if (draw_.one_in(2)) create_image();
}

bool Simulation::is_quiet() {
  if (!daemon_) return unrest_ = "no daemon", false;
  const auto& queue = daemon_->runtime->manager().queue();
  if (!waiting_.empty()) return unrest_ = fmt::format("vm{} cannot be made", waiting_.begin()->first), false;
  const auto mutations = sim_.mutations();
  const auto written = written_so_far();
  if (mutations != seen_mutations_ || written != seen_written_) {
    seen_mutations_ = mutations;
    seen_written_ = written;
    quiet_since_ = clock_.steady();
    return unrest_ = "something changes all the time", false;
  }
  if (queue.failing() > 0) {
    unrest_.clear();
    for (const auto kind : kReconciled) {
      for (const auto& object : all_of(objects()->store(), kind)) {
        if (queue.failures(api::key_of(object)) == 0 || !queue.due(api::key_of(object))) continue;
        // Beside somebody else's things it may fail for as long as they are there.
        const auto& uid = object.meta.uid;
        const auto view = sim_.observe_vm(uid, 8);
        if (foreign_things(*view)) continue;
        unrest_ = fmt::format("{} fails: {}", api::to_string(api::key_of(object)),
                              kind == api::Kind::VirtualMachine ? said(status_of(object).conditions, "Ready") : "");
      }
    }
    if (!unrest_.empty()) return false;
  }
  for (const auto& vm : all_of(objects()->store(), api::Kind::VirtualMachine)) {
    const auto* ready = api::find_condition(status_of(vm).conditions, "Ready");
    if (ready != nullptr && ready->reason == "BackOff") return unrest_ = vm.meta.name + ": " + ready->message, false;
  }
  return unrest_ = "too late", clock_.steady() - quiet_since_ >= kQuiet;
}

// What was written of other objects than events.
std::uint64_t Simulation::written_so_far() {
  std::uint64_t sum = 0;
  for (const auto kind : kReconciled) {
    (void)store::visit(objects()->store(), {.kind = kind, .ns = std::nullopt},
                       [&](const api::Object& object) { sum += object.meta.resource_version * 31 + 7; });
  }
  return sum;
}

bool Simulation::settle(milliseconds limit) {
  const auto end = clock_.steady() + limit;
  quiet_since_ = clock_.steady();
  while (clock_.steady() < end && !ledger_.violation()) {
    advance(kLook);
    if (!ledger_.violation() && is_quiet()) return true;
  }
  return ledger_.violation().has_value();
}

void Simulation::check_stability() {
  const auto mutations = sim_.mutations();
  const auto written = written_so_far();
  for (int i = 0; i < 10; ++i) {
    daemon_->runtime->manager().resync_soon();
    next_tick_ = clock_.steady();
    advance(milliseconds{300});
  }
  if (ledger_.violation()) return;
  if (sim_.mutations() != mutations) ledger_.fail("I9", "at rest, and yet a step changes the host");
  if (written_so_far() != written) ledger_.fail("I9", "at rest, and yet a status is written");
}

// What a client was told is there.
void Simulation::check_acknowledged() {
  auto& store = *daemon_->store;
  if (store.revision() < last_revision_)
    ledger_.fail("I4", fmt::format("revision {} after {} was told", store.revision(), last_revision_));
  for (const auto& [name, wanted] : acknowledged_) {
    const auto found = store.get({.kind = api::Kind::VirtualMachine, .ns = "default", .name = name});
    if (!found || found->meta.uid != wanted.first) {
      ledger_.fail("I4", name + " was created, and is gone");
    } else if (spec_of(*found) != wanted.second) {
      ledger_.fail("I4", name + " was edited, and is as before");
    }
  }
}

void Simulation::check_rest() {
  check_acknowledged();
  ledger_.check_foreign();
  std::map<std::string, std::string> leased;
  std::set<std::string> living;
  for (const auto& vm : all_of(objects()->store(), api::Kind::VirtualMachine)) {
    living.insert(vm.meta.uid);
    check_vm(vm);
  }
  for (const auto& lease : all_of(objects()->store(), api::Kind::AddressLease)) {
    const auto& spec = std::get<api::AddressLease>(lease.body).spec;
    if (!living.contains(spec.vm_uid)) ledger_.fail("I8", spec.address + " is leased to a VM that is gone");
    const auto [at, added] = leased.emplace(spec.network + " " + spec.address, spec.vm_uid);
    if (!added) ledger_.fail("I8", at->first + " is leased twice");
  }
  const auto report = daemon_->runtime->garbage().look();
  for (const auto& row : report->rows) {
    if (controller::is_orphan(row) && !ledger_.database_was_lost())
      ledger_.fail("I2", fmt::format("an orphan: {} {}", actuators::name_of(row.object.type), row.object.name));
  }
}

void Simulation::check_vm(const api::Object& vm) {
  const auto& name = vm.meta.name;
  const auto& status = status_of(vm);
  const auto view = *sim_.observe_vm(vm.meta.uid, 8);
  if (vm.meta.deletion_time) return ledger_.fail("Deletes", name + " does not go: " + said(status.conditions, "Ready"));
  if (status.observed_generation != vm.meta.generation)
    return ledger_.fail("I1", fmt::format("{}: generation {} is not looked at", name, vm.meta.generation));
  if (foreign_things(view)) return;
  if (spec_of(vm).power_state == api::PowerState::Stopped) return check_stopped(vm, view);
  if (is_true(status.conditions, "Ready")) return check_running(vm, view);

  const auto ready = said(status.conditions, "Ready");
  const auto& facts = ledger_.of(vm.meta.uid);
  const auto image = objects()->store().get({.kind = api::Kind::Image, .ns = "", .name = "demo"});
  const bool no_image = !image || !is_true(std::get<api::Image>(image->body).status.conditions, "Ready");
  const bool left = spec_of(vm).restart_policy != api::RestartPolicy::Always && (!view.sidecar || !view.sidecar->ended.empty()) &&
                    !view.vmm.vmm;
  const bool bad_disk = view.snapshot && (view.snapshot->invalid || view.snapshot->overflow);
  if (!facts.lost.empty() && is_true(status.conditions, "DataLost")) return;
  if (!no_image && !left && !bad_disk && !is_true(status.conditions, "RootDiskInvalid"))
    ledger_.fail("I1", fmt::format("{} is not Ready: {}", name, ready));
}

void Simulation::check_running(const api::Object& vm, const actuators::VmView& view) {
  const auto& name = vm.meta.name;
  const auto& facts = ledger_.of(vm.meta.uid);
  if (!view.vmm.vmm) return ledger_.fail("I1", name + " is Ready and no VMM runs");
  if (!view.sidecar) return ledger_.fail("I1", name + " runs and has no vm.json");
  const auto& launched = view.sidecar->launched_spec;
  const bool says_pending = is_true(status_of(vm).conditions, "RestartRequired");
  if (launched.memory != spec_of(vm).memory && !says_pending) ledger_.fail("I1", name + " has other memory, and nothing says so");
  if (facts.hurt) return;
  for (const auto& nic : view.sidecar->nics) {
    const auto tap = std::ranges::find(view.links, nic.tap, &actuators::LinkView::name);
    if (tap == view.links.end() || !tap->up || tap->master.empty()) ledger_.fail("I2", name + ": its tap is not as wanted");
  }
}

void Simulation::check_stopped(const api::Object& vm, const actuators::VmView& view) {
  const auto& name = vm.meta.name;
  const auto& status = status_of(vm);
  const auto& facts = ledger_.of(vm.meta.uid);
  if (view.vmm.cgroup_populated) return ledger_.fail("I1", name + " is to be stopped and runs");
  if (status.phase != "Stopped") ledger_.fail("I1", fmt::format("{} is to be stopped and is {}", name, status.phase));
  if (!view.links.empty()) ledger_.fail("I2", name + " is stopped and has the tap " + view.links.front().name);
  if (view.snapshot) ledger_.fail("I2", name + " is stopped and has its device");
  if (view.vmm.cgroup_exists || view.run_directory_exists)
    ledger_.fail("I2", name + " is stopped and has a cgroup or run directory");
  if (is_true(status.conditions, "CleanShutdown") && !facts.synced && !facts.powered_off)
    ledger_.fail("I6", name + " was not synced, and its stop is called clean");
}

void Simulation::delete_everything() {
  trace_.line("--- everything is deleted");
  waiting_.clear();
  acknowledged_.clear();
  for (const auto& vm : all_of(objects()->store(), api::Kind::VirtualMachine)) remove(api::key_of(vm));
  remove({.kind = api::Kind::Image, .ns = "", .name = "demo"});
  if (!settle(minutes(10))) return ledger_.fail("Deletes", "deletes do not end within 10 minutes: " + unrest_);
  if (ledger_.violation()) return;
  if (ledger_.database_was_lost()) {
    for (const auto& loop : sim_.loops()) {
      if (loop.label == "other") sim_.detach(loop.device);
    }
    ledger_.collect_everything(true);
    for (int i = 0; i < 4; ++i) {
      (void)daemon_->runtime->garbage().collect(controller::Permission::Everything);
      advance(seconds(5));
    }
  }
  if (!ledger_.violation()) check_empty();
}

void Simulation::check_empty() {
  for (const auto& line : sim_.leftovers()) ledger_.fail("I2", "nothing is wanted, and there is the " + line);
  for (const auto kind : {api::Kind::VirtualMachine, api::Kind::AddressLease, api::Kind::Image}) {
    for (const auto& object : all_of(objects()->store(), kind))
      ledger_.fail("Deletes", api::to_string(api::key_of(object)) + " is still stored");
  }
  ledger_.check_foreign();
}

}  // namespace banger::simulation
