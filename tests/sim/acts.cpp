// SPDX-License-Identifier: Apache-2.0
// What each act of a schedule does.
#include <algorithm>

#include "actuators/names.hpp"
#include "sim/simulation.hpp"
#include "store/visit.hpp"

namespace banger::simulation {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kImageFile = "/srv/demo.tar";

api::ObjectKey vm_key(std::uint32_t vm) {
  return {.kind = api::Kind::VirtualMachine, .ns = "default", .name = "vm" + std::to_string(vm)};
}
const api::ObjectKey kImage{.kind = api::Kind::Image, .ns = "", .name = "demo"};

// What a VM is like, from the bits of a number.
api::Object shaped_vm(std::uint32_t vm, std::uint32_t shape) {
  Draw draw(shape);
  api::Object object;
  object.meta.name = vm_key(vm).name;
  object.meta.ns = "default";
  api::VirtualMachineSpec spec;
  spec.image = kImage.name;
  if (!draw.one_in(4)) spec.ssh = api::SshSpec{};
  const auto nics = draw.one_in(5) ? 0U : draw.one_in(4) ? 2U : 1U;
  for (std::uint32_t i = 0; i < nics; ++i) spec.network_interfaces.push_back({.network = "default", .address = {}});
  if (!draw.one_in(3)) spec.disks.push_back({.name = "data", .size = mib(64), .mount_path = "/data"});
  if (draw.one_in(3)) spec.root_disk.size = mib(128 * (1 + draw.below(4)));
  if (draw.one_in(3)) spec.root_disk.cow.size = mib(16 + draw.below(3));
  if (draw.one_in(4)) spec.root_disk.cow.growth = api::CowGrowth::Never;
  if (draw.one_in(5)) spec.root_disk.backend = api::DiskBackend::Copy;
  if (draw.one_in(6)) spec.power_state = api::PowerState::Stopped;
  if (draw.one_in(4)) spec.restart_policy = draw.one_in(2) ? api::RestartPolicy::Never : api::RestartPolicy::OnFailure;
  object.body = api::VirtualMachine{.spec = std::move(spec), .status = {}};
  return object;
}

}  // namespace

void Simulation::in_pass() {
  if (in_op_ || next_op_ >= schedule_.ops.size()) return;
  const auto& op = schedule_.ops[next_op_];
  if (!op.inside || clock_.steady() < op_due_) return;
  execute(op);
}

void Simulation::execute(const Op& op) {
  in_op_ = true;
  ++next_op_;
  if (next_op_ < schedule_.ops.size()) op_due_ = clock_.steady() + schedule_.ops[next_op_].wait;
  trace_.line("{}", trace_.keeps() ? describe(op) : std::string());
  trace_.mix(static_cast<std::uint64_t>(op.act));
  [[maybe_unused]] const bool known = (by_user(op) || by_machine(op) || by_calls(op) || behind_our_back(op) || on_disks(op) ||
                                       by_guest(op) || by_somebody_else(op));
  in_op_ = false;
}

void Simulation::remember(const api::Object& object) {
  acknowledged_[object.meta.name] = {object.meta.uid, std::get<api::VirtualMachine>(object.body).spec};
  last_revision_ = std::max(last_revision_, object.meta.resource_version);
}

void Simulation::create_vm(std::uint32_t vm, std::uint32_t shape) {
  waiting_.erase(vm);
  if (objects() == nullptr) {
    waiting_[vm] = shape;
    return;
  }
  const auto there = objects()->store().get(vm_key(vm));
  if (there && !there->meta.deletion_time) return;
  const auto made = objects()->create(shaped_vm(vm, shape));
  if (made) {
    remember(*made);
  } else {
    waiting_[vm] = shape;
  }
}

void Simulation::create_waiting() {
  if (waiting_.empty() || objects() == nullptr) return;
  for (const auto& [vm, shape] : std::map(waiting_)) {
    const auto there = objects()->store().get(vm_key(vm));
    if (!there || !there->meta.deletion_time) create_vm(vm, shape);
    if (is_dead()) return;
  }
}

void Simulation::create_image() {
  api::Object object;
  object.meta.name = kImage.name;
  object.body = api::Image{.spec = {.path = kImageFile}, .status = {}};
  if (objects() != nullptr) (void)objects()->create(std::move(object));
}

template <class Change>
void Simulation::edit(std::uint32_t vm, Change change) {
  if (objects() == nullptr) return;
  const auto edited = objects()->edit(vm_key(vm), [&](api::Object& object) -> Result<void> {
    change(std::get<api::VirtualMachine>(object.body).spec, object.meta);
    return {};
  });
  if (edited && !edited->meta.deletion_time) remember(*edited);
  if (!edited) acknowledged_.erase(vm_key(vm).name);  // it may be written, or not
}

void Simulation::remove(const api::ObjectKey& key) {
  if (objects() == nullptr) return;
  const auto removed = objects()->remove(key, {});
  (void)removed;  // refused or not: nothing can be said of it
  if (key.kind == api::Kind::VirtualMachine) acknowledged_.erase(key.name);
}

std::string Simulation::uid_of(std::uint32_t vm) {
  if (objects() == nullptr) return {};
  const auto stored = objects()->store().get(vm_key(vm));
  return stored ? stored->meta.uid : std::string();
}

bool Simulation::by_user(const Op& op) {
  switch (op.act) {
    case Act::CreateVm:
      return create_vm(op.vm, op.arg), true;
    case Act::DeleteVm:
      return waiting_.erase(op.vm), remove(vm_key(op.vm)), true;
    case Act::RecreateVm:
      return remove(vm_key(op.vm)), create_vm(op.vm, op.arg), true;
    case Act::EditLabels:
      return edit(op.vm, [&](auto&, auto& meta) { meta.labels["edit"] = std::to_string(++edits_); }), true;
    case Act::EditMemory:
      return edit(op.vm, [&](auto& spec, auto&) { spec.memory = mib(256 + 64 * (op.arg % 3)); }), true;
    case Act::GrowDisks:
      edit(op.vm, [&](auto& spec, auto&) {
        for (auto& disk : spec.disks) disk.size = std::max(disk.size, mib(64 * (1 + op.arg % 3)));
        spec.root_disk.size = std::max(spec.root_disk.size.value_or(Bytes{}), mib(128 * (1 + op.more % 4)));
      });
      return true;
    case Act::Stop:
      return edit(op.vm, [](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; }), true;
    case Act::Start:
      return edit(op.vm, [](auto& spec, auto&) { spec.power_state = api::PowerState::Running; }), true;
    case Act::Restart:
      return edit(op.vm, [&](auto& spec, auto&) { spec.restart_nonce = std::to_string(++edits_); }), true;
    case Act::CreateImage:
      return create_image(), true;
    case Act::DeleteImage:
      return remove(kImage), true;
    case Act::ChangeImage:
      return sim_.add_file(kImageFile, mib(10 + op.arg % 4), 8 + op.more), true;
    case Act::LeaveAdoptMode:
      if (daemon_) (void)daemon_->adopt_mode.leave();
      return true;
    case Act::CollectEverything:
      if (!daemon_) return true;
      ledger_.collect_everything(true);
      try {
        (void)daemon_->runtime->garbage().collect(controller::Permission::Everything);
      } catch (const actuators::sim::SimCrash&) {
        platter_.killed = true;
      }
      return ledger_.collect_everything(false), true;
    default:
      return false;
  }
}

bool Simulation::by_machine(const Op& op) {
  switch (op.act) {
    case Act::KillDaemon:
      return host_.kill_daemon(), true;
    case Act::SecondDaemon:
      return second_daemon(), true;
    case Act::RebootHost:
      host_.kill_daemon();
      sim_.reboot_host();
      return ledger_.host_rebooted(), true;
    case Act::LoseDatabase:
      host_.kill_daemon();
      ledger_.database_lost();
      acknowledged_.clear();
      last_revision_ = 0;
      if (schedule_.rocksdb) {
        std::filesystem::rename(options_.directory / "db", options_.directory / ("lost" + std::to_string(++edits_)));
      } else {
        platter_.table = {};
        platter_.lost = true;
      }
      return true;
    case Act::FillDisk:
      platter_.full = true;
      host_.set_disk_full(true);
      disk_full_until_ = clock_.steady() + seconds(1 + op.arg % 90);
      return sim_.set_space(actuators::SpaceLevel::Full), true;
    case Act::JumpClock: {
      const auto by = seconds(op.arg % 2 == 0 ? 3'600 : 365 * 86'400) * (op.more % 2 == 0 ? 1 : -1);
      return clock_.jump_wall(by), true;
    }
    default:
      return false;
  }
}

void Simulation::second_daemon() {
  if (!schedule_.rocksdb || !daemon_) return;
  const auto second = store::open_rocksdb_store((options_.directory / "db").string());
  if (second) ledger_.fail("F24", "a second daemon opens the database of a living one");
  if (!second && second.error().code != ErrorCode::Busy) ledger_.fail("F24", "it says: " + second.error().message);
}

bool Simulation::by_calls(const Op& op) {
  static const std::vector<std::string> kJobs{"build", "initrd", "root-disk", "disk-data", "sync", "probe"};
  switch (op.act) {
    case Act::FaultAt:
      return faults_.arm(std::nullopt, op.arg, fault_at(op.more % kFaults)), true;
    case Act::FaultRate:
      return faults_.set_rate(op.arg, op.more), true;
    case Act::FailJobs: {
      const auto& name = kJobs[op.arg % kJobs.size()];
      const bool fails = op.more % 3 != 0;
      sim_.fail_jobs(name, fails ? std::optional(errno_error("simulated", errno_of(op.more % kErrnos))) : std::nullopt);
      if (name == "sync") {
        for (std::uint32_t vm = 0; vm < schedule_.vms; ++vm) {
          if (const auto uid = uid_of(vm); !uid.empty()) ledger_.of(uid).honest = !fails;
        }
      }
      return true;
    }
    case Act::SlowJobs:
      return host_.set_slow_jobs(op.arg), true;
    case Act::LoseHints:
      return host_.set_hints(1 + op.arg % 3, 0, 0), true;
    case Act::DelayHints:
      return host_.set_hints(0, 1 + op.arg % 3, 0), true;
    case Act::RepeatHints:
      return host_.set_hints(0, 4, 1 + op.arg % 3), true;
    default:
      return false;
  }
}

bool Simulation::behind_our_back(const Op& op) {
  const auto uid = uid_of(op.vm);
  switch (op.act) {
    case Act::RemoveTap:
      if (uid.empty()) return true;
      for (const auto& link : sim_.links()) {
        if (link.name != actuators::tap_name(uid, op.arg % 2) || link.owner != uid) continue;
        ledger_.of(uid).hurt = true;
        sim_.remove_link(link.name);
      }
      return true;
    case Act::RemoveBridge:
      for (const auto& link : sim_.links()) {
        if (link.kind == "bridge" && !link.owner.empty()) return sim_.remove_link(link.name), true;
      }
      return true;
    case Act::FlushNat:
      return sim_.flush_nat(), true;
    case Act::LoseSidecar:
      if (uid.empty()) return true;
      sim_.lose_sidecar(uid);
      return ledger_.record_lost(uid), true;
    case Act::SpoilSidecar:
      if (uid.empty() || !sim_.disk_exists(uid, "root")) return true;
      sim_.spoil_sidecar(uid, "vm.json is a symbolic link");
      return ledger_.record_lost(uid), true;
    case Act::LoseRecord: {
      if (objects() == nullptr) return true;
      const auto image = objects()->store().get(kImage);
      if (image) sim_.lose_record(image->meta.uid);
      return true;
    }
    case Act::LoseDirectory:
      if (uid.empty()) return true;
      sim_.lose_directory(uid);
      return ledger_.disks_lost(uid, {"root", "data"}), true;
    case Act::LoseDisk: {
      const std::string disk = op.arg % 2 == 0 ? "root" : "data";
      if (uid.empty()) return true;
      sim_.lose_disk(uid, disk);
      return ledger_.disks_lost(uid, {disk}), true;
    }
    default:
      return false;
  }
}

bool Simulation::on_disks(const Op& op) {
  const auto uid = uid_of(op.vm);
  if (op.act < Act::RemoveNode || op.act > Act::NoLoops) return false;
  if (op.act == Act::NoLoops)
    return sim_.set_free_loops(op.arg % 4 == 0 ? std::nullopt : std::optional<std::size_t>(op.arg % 3)), true;
  if (uid.empty()) return true;
  const auto view = sim_.observe_vm(uid, 0);
  const bool node = view->snapshot && view->snapshot->ours && view->snapshot->name == actuators::dm_name(uid);
  const bool cow = std::ranges::any_of(view->disks, [](const auto& disk) { return disk.backend == "dm-snapshot"; });
  switch (op.act) {
    case Act::RemoveNode:
      return node && sim_.remove_node(uid), true;
    case Act::WipeNode:
      if (!node) return true;
      ledger_.of(uid).hurt = true;
      return sim_.wipe_node(uid), true;
    case Act::HalfCreateNode:
      if (!view->snapshot && !view->vmm.cgroup_populated) sim_.half_create(uid);
      return true;
    case Act::SuspendNode:
      if (node) sim_.suspend(uid);
      return true;
    case Act::FillCow:
      if (cow) sim_.fill_cow(uid, mib(1 + op.arg % 80));
      return true;
    case Act::BreakCow:
      if (cow && op.arg % 3 == 0) sim_.break_cow(uid);
      return true;
    default:
      return true;
  }
}

bool Simulation::by_guest(const Op& op) {
  if (op.act < Act::CrashVmm || op.act > Act::StrayProcess) return false;
  if (op.act == Act::HangKills) {
    sim_.hold_kills(op.arg % 2 == 0);
    if (op.arg % 2 != 0) sim_.reap();
    return true;
  }
  const auto uid = uid_of(op.vm);
  if (uid.empty()) return true;
  auto& facts = ledger_.of(uid);
  switch (op.act) {
    case Act::CrashVmm:
      return sim_.exit_vmm(uid, {.reason = "Crashed", .signal = 11, .message = "a fault"}), true;
    case Act::PowerOff:
      facts.powered_off = sim_.vmm_count(uid) > 0;
      return sim_.exit_vmm(uid, {.reason = "GuestShutdown", .message = ""}), true;
    case Act::GuestReboot:
      return sim_.exit_vmm(uid, {.reason = "GuestReboot", .message = ""}), true;
    case Act::UnreachableGuest:
      facts.reachable = op.arg % 3 == 0;
      return sim_.set_guest_reachable(uid, facts.reachable), true;
    case Act::LyingGuest:
      facts.honest = op.arg % 3 == 0;
      return sim_.set_sync_answer(uid, op.arg % 3 == 0   ? actuators::sim::SyncAnswer::Confirms
                                       : op.arg % 3 == 1 ? actuators::sim::SyncAnswer::WrongNonce
                                                         : actuators::sim::SyncAnswer::Fails),
             true;
    case Act::BrokenMonitor: {
      using actuators::MonitorState;
      const auto state = op.arg % 3 == 0   ? MonitorState::InternalError
                         : op.arg % 3 == 1 ? MonitorState::Unreachable
                                           : MonitorState::IoError;
      facts.running = false;
      return sim_.set_monitor(uid, state), true;
    }
    case Act::StrayProcess:
      sim_.remove_strays(uid);
      if (op.arg % 2 == 0) sim_.add_stray(uid, {.pid = 77, .start_time_ticks = 9, .exe = "/usr/bin/other", .names_socket = true});
      return true;
    default:
      return true;
  }
}

bool Simulation::by_somebody_else(const Op& op) {
  const auto uid = uid_of(op.vm);
  if (uid.empty()) return true;
  const auto links = sim_.links();
  switch (op.act) {
    case Act::ForeignTap: {
      const auto name = actuators::tap_name(uid, op.arg % 2);
      if (std::ranges::any_of(links, [&](const auto& link) { return link.name == name; })) return true;
      sim_.add_link({.name = name, .index = 0, .kind = "tun", .alias = "somebody else's", .master = "", .up = true, .mtu = 1500});
      const auto now = sim_.links();
      return ledger_.add_foreign(*std::ranges::find(now, name, &actuators::LinkView::name)), true;
    }
    case Act::ForeignNode:
      if (!sim_.observe_vm(uid, 0)->snapshot) sim_.add_node(actuators::dm_name(uid), "LVM-" + uid);
      return true;
    case Act::ForeignLoop:
      if (sim_.disk_exists(uid, "root")) (void)sim_.add_loop(actuators::root_cow_path(layout_, uid).string(), "other");
      return true;
    case Act::ForeignNat:
      sim_.add_nat({.table = "banger-0000000000", .comment = "somebody else's", .bridge = "br0", .cidr = "192.0.2.0/24"});
      return true;
    default:
      return false;
  }
}

}  // namespace banger::simulation
