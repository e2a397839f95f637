// SPDX-License-Identifier: Apache-2.0
#include "sim/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "actuators/names.hpp"
#include "store/visit.hpp"

namespace banger::simulation {
namespace {

using actuators::Applied;
using actuators::MonitorState;
using actuators::Step;

// Steps that take away what a VMM stands on.
std::string takes_from(const Step& step) {
  return std::visit(
      [](const auto& each) -> std::string {
        using T = std::decay_t<decltype(each)>;
        if constexpr (std::is_same_v<T, actuators::RemoveLink>) return each.owner_uid;
        if constexpr (std::is_same_v<T, actuators::DeactivateRootDisk> || std::is_same_v<T, actuators::RemoveVmDirectory> ||
                      std::is_same_v<T, actuators::RemoveCgroup> || std::is_same_v<T, actuators::ClearRunDirectory> ||
                      std::is_same_v<T, actuators::LaunchVmm>)
          return each.vm_uid;
        return {};
      },
      step);
}

}  // namespace

void Ledger::fail(std::string_view rule, const std::string& what) {
  if (!violation_) violation_ = fmt::format("{}: {}", rule, what);
}

std::optional<api::Object> Ledger::object_of(const std::string& uid) {
  std::optional<api::Object> found;
  if (store_ == nullptr) return found;
  (void)store::visit(*store_, {.kind = api::Kind::VirtualMachine, .ns = std::nullopt}, [&](const api::Object& object) {
    if (object.meta.uid == uid) found = object;
  });
  return found;
}

void Ledger::observed(const actuators::VmView& view) {
  if (view.jobs.empty() || !view.vmm.vmm) return;
  auto& facts = vms_[view.uid];
  for (const auto& job : view.jobs) {
    const auto* sync = std::get_if<actuators::SyncGuest>(&job.spec);
    if (sync != nullptr && job.state == actuators::JobState::Failed) facts.asked = true;
    if (job.state != actuators::JobState::Done) continue;
    if (std::holds_alternative<actuators::ProbeSsh>(job.spec)) facts.answered = true;
    if (sync == nullptr) continue;
    (job.result == sync->nonce ? facts.synced : facts.asked) = true;
  }
}

void Ledger::before(const Step& step) {
  const auto uid = takes_from(step);
  lived_before_ = !uid.empty() && lives(uid);
  if (lived_before_ && std::holds_alternative<actuators::LaunchVmm>(step)) fail("I7", "a second VMM is started for " + uid);
  if (const auto* kill = std::get_if<actuators::KillVmm>(&step)) before_kill(kill->vm_uid);
  if (const auto* write = std::get_if<actuators::WriteSidecar>(&step)) before_record(write->sidecar);
  if (const auto* remove = std::get_if<actuators::RemoveVmDirectory>(&step)) {
    const auto object = object_of(remove->vm_uid);
    const bool wanted = object ? !object->meta.deletion_time : !everything_;
    if (wanted && host_.disk_exists(remove->vm_uid, "root")) fail("I6", "the disks of " + remove->vm_uid + " are removed");
  }
  if (const auto* start = std::get_if<actuators::StartJob>(&step)) {
    const auto* root = std::get_if<actuators::MakeRootDisk>(&start->spec);
    const auto* data = std::get_if<actuators::MakeDataDisk>(&start->spec);
    if (root != nullptr && !root->present) before_disk(root->vm_uid, "root");
    if (data != nullptr && !data->present) before_disk(data->vm_uid, data->disk);
  }
}

void Ledger::before_disk(const std::string& uid, const std::string& disk) {
  if (vms_[uid].ran.contains(disk) && !host_.disk_exists(uid, disk))
    fail("I6", fmt::format("the disk {} of {} has run, is gone, and is made anew", disk, uid));
}

void Ledger::after(const Step& step, const Result<Applied>& result) {
  if (!result && result.error().message.find("no plan may say this") != std::string::npos) fail("I2", result.error().message);
  const bool changed = result && *result == Applied::Changed;
  if (changed && lived_before_ && !std::holds_alternative<actuators::LaunchVmm>(step))
    fail("I2", actuators::describe(step) + " takes something from under a living VMM");
  if (const auto* launch = std::get_if<actuators::LaunchVmm>(&step)) {
    vms_[launch->vm_uid].launch_failed = !changed;
    if (changed) launched(*launch);
  }
  if (changed && (std::holds_alternative<actuators::RemoveLink>(step) || std::holds_alternative<actuators::MakeBridge>(step) ||
                  std::holds_alternative<actuators::MakeTap>(step)))
    check_foreign();
}

void Ledger::told_otherwise(const Step& step) {
  if (const auto* launch = std::get_if<actuators::LaunchVmm>(&step)) vms_[launch->vm_uid].launch_failed = true;
}

void Ledger::launched(const actuators::LaunchVmm& launch) {
  auto& facts = vms_[launch.vm_uid];
  for (const auto& disk : launch.disks) facts.ran.insert(disk.name);
  facts.launched = true;
  facts.answered = facts.asked = facts.synced = facts.powered_off = facts.hurt = facts.ending = facts.marked = false;
  facts.running = true;
  facts.addresses.clear();
  facts.has_ssh = false;
  const auto view = host_.observe_vm(launch.vm_uid, 0);
  if (!view || !view->sidecar) return;
  facts.restart_nonce = view->sidecar->launched_spec.restart_nonce;
  facts.has_ssh = view->sidecar->launched_spec.ssh.has_value() && !view->sidecar->nics.empty();
  for (const auto& nic : view->sidecar->nics) facts.addresses.insert(nic.network_uid + " " + nic.address);
  for (const auto& [uid, other] : vms_) {
    if (uid == launch.vm_uid || !lives(uid)) continue;
    for (const auto& address : facts.addresses) {
      if (other.addresses.contains(address)) fail("I8", fmt::format("{} and {} both have {}", uid, launch.vm_uid, address));
    }
  }
}

// A kill must have a cause that a person or the guest gave, or something that the VMM cannot go on without.
bool Ledger::may_end(const std::string& uid) {
  const auto& facts = vms_[uid];
  const auto object = object_of(uid);
  if (!object) return everything_;
  const auto& spec = std::get<api::VirtualMachine>(object->body).spec;
  return object->meta.deletion_time || spec.power_state == api::PowerState::Stopped ||
         spec.restart_nonce != facts.restart_nonce || facts.launch_failed || !facts.running || facts.hurt || facts.ending ||
         facts.marked;
}

void Ledger::before_record(const actuators::Sidecar& sidecar) {
  if (sidecar.ended.empty() || !lives(sidecar.uid)) return;
  if (!may_end(sidecar.uid))
    fail("Restart", fmt::format("vm.json of {} says that it ends ({}), and nothing asks for that", sidecar.uid, sidecar.ended));
  vms_[sidecar.uid].marked = true;
}

void Ledger::before_kill(const std::string& uid) {
  if (!lives(uid)) return;
  auto& facts = vms_[uid];
  if (!may_end(uid)) fail("Restart", "the VMM of " + uid + " is killed, and nothing asks for that");
  // A delete takes the disks too: what the guest has not written out is not asked for any more.
  const auto object = object_of(uid);
  if (!object || object->meta.deletion_time) {
    facts.ending = true;
    return;
  }
  const bool can_answer =
      facts.has_ssh && facts.answered && facts.reachable && facts.honest && facts.running && !facts.asked && !everything_;
  if (can_answer && !facts.synced && !facts.ending && !facts.launch_failed)
    fail("I6", "the guest of " + uid + " answers and is killed without a sync");
  facts.ending = true;
}

void Ledger::check_foreign() {
  if (foreign_links_.empty()) return;
  const auto links = host_.links();
  for (const auto& mine : foreign_links_) {
    const auto found = std::ranges::find(links, mine.name, &actuators::LinkView::name);
    if (found == links.end()) fail("I3", "the foreign link " + mine.name + " was removed");
    if (found != links.end() && found->alias != mine.alias) fail("I3", "the foreign link " + mine.name + " was relabelled");
    if (found != links.end() && found->master != mine.master) fail("I3", "the foreign link " + mine.name + " was moved");
  }
}

void Ledger::host_rebooted() {
  for (auto& [uid, facts] : vms_) facts.addresses.clear();
}

void Ledger::daemon_ended() {
  for (auto& [uid, facts] : vms_) {
    if (!facts.answered) continue;
    const auto object = object_of(uid);
    if (!object) continue;
    const auto* ready = api::find_condition(std::get<api::VirtualMachine>(object->body).status.conditions, "Ready");
    facts.answered = ready != nullptr && ready->status == api::ConditionStatus::True;
  }
}

// Of a disk that is gone, ran, and stands neither in vm.json nor ever stood in a status that is kept, nobody can know: its write
// may have been lost too. That a status has forgotten it is no excuse.
void Ledger::forget_unknowable(const std::string& uid, bool database) {
  auto& facts = vms_[uid];
  const auto view = host_.observe_vm(uid, 0);
  const bool recorded = view && view->sidecar && view->sidecar->launches > 0;
  const auto object = database ? object_of(uid) : std::nullopt;
  const auto* vm = object ? std::get_if<api::VirtualMachine>(&object->body) : nullptr;
  if (!database) facts.told.clear();
  for (const auto& disk : facts.ran) {
    const bool named =
        vm != nullptr && (disk == "root" || std::ranges::count(vm->status.disks, disk, &api::DiskStatus::name) > 0);
    if (named && vm->status.launches > 0) facts.told.insert(disk);
  }
  std::erase_if(facts.ran, [&](const std::string& disk) {
    if (host_.disk_exists(uid, disk) || facts.told.contains(disk)) return false;
    return !recorded || (disk != "root" && std::ranges::count(view->sidecar->disk_names, disk) == 0);
  });
}

void Ledger::disks_lost(const std::string& uid, const std::set<std::string>& disks) {
  forget_unknowable(uid, true);
  auto& facts = vms_[uid];
  for (const auto& disk : disks) {
    if (facts.ran.contains(disk)) facts.lost.insert(disk);
  }
}

void Ledger::record_lost(const std::string& uid) { forget_unknowable(uid, true); }

void Ledger::database_lost() {
  database_lost_ = true;
  for (auto& [uid, facts] : vms_) {
    forget_unknowable(uid, false);
    // Whether its guest can be asked to sync stands in vm.json, or nowhere.
    const auto view = host_.observe_vm(uid, 0);
    if (!view || !view->sidecar) facts.has_ssh = false;
  }
}

}  // namespace banger::simulation
