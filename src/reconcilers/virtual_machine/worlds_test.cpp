// SPDX-License-Identifier: Apache-2.0
// Random worlds: whatever was done to a host and its VMs, by us or behind our back, what is planned and applied comes to a state
// in which nothing more is planned, and a delete of everything leaves nothing.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>

#include "actuators/names.hpp"
#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

using actuators::sim::FaultPoint;
using actuators::sim::SimCrash;

constexpr std::uint64_t kSeeds = 200;

class RandomWorld : public World {
 public:
  explicit RandomWorld(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {
    host.set_device_mapper(below(4) != 0);
    create_builtins();
    create_image();
    const auto count = 1 + below(3);
    for (std::uint64_t i = 0; i < count; ++i) add_vm();
  }

  void live(int disturbances) {
    live_until_rest();
    for (int i = 0; i < disturbances; ++i) {
      disturb();
      if (below(3) == 0) live_until_rest();
    }
    live_until_rest();
  }

  // At rest nothing is planned, in a pass or in a resync, by this daemon or the next.
  bool plans_nothing() {
    const auto mutations = host.mutations();
    const auto revision = store->revision();
    for (int i = 0; i < 2; ++i) {
      for (const auto& key : keys()) pass(key);
      restart();
    }
    const auto view = host.observe_all({});
    for (auto& reconciler : reconcilers) {
      if (reconciler->kind() != api::Kind::VirtualMachine) continue;
      const auto drifted = reconciler->drifted(*view);
      for (const auto& key : drifted) MESSAGE("drifted: " << key.name << ", " << message("Ready", key.name));
      if (!drifted.empty()) return false;
    }
    if (host.mutations() != mutations) MESSAGE("mutated: " << host.log().back());
    return host.mutations() == mutations && store->revision() == revision;
  }

  void delete_all() {
    for (const auto& name : names_) {
      if (exists(vm_key(name))) remove(vm_key(name));
    }
    maybe_crash();
    live_until_rest();
  }

  std::string story;  // for a failure

 private:
  std::uint64_t below(std::uint64_t limit) {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_ % limit;
  }

  void add_vm() {
    auto object = vm_object(fmt::format("vm{}", ++made_));
    auto& spec = std::get<api::VirtualMachine>(object.body).spec;
    if (below(3) == 0) spec.ssh.reset();
    if (below(3) == 0) spec.disks.clear();
    if (below(4) == 0) spec.network_interfaces.clear();
    if (below(4) == 0) spec.network_interfaces.push_back({.network = "default", .address = {}});
    if (below(3) == 0) spec.root_disk.size = mib(128 * (1 + below(4)));
    if (below(3) == 0) spec.root_disk.cow.size = mib(16 + below(3));
    if (below(4) == 0) spec.root_disk.cow.growth = api::CowGrowth::Never;
    if (below(5) == 0) spec.root_disk.backend = api::DiskBackend::Copy;
    if (below(4) == 0) spec.power_state = api::PowerState::Stopped;
    if (below(4) == 0) spec.restart_policy = api::RestartPolicy::Never;
    names_.push_back(object.meta.name);
    create(std::move(object));
  }

  void maybe_crash() {
    if (below(2) == 0) host.crash_after(below(12));
  }

  // Crashes are followed by another daemon.
  void live_until_rest() {
    for (int i = 0; i < 8; ++i) {
      try {
        clock.advance(std::chrono::seconds(31));
        const bool rests = settles(400);
        REQUIRE_MESSAGE(rests, story);
        host.clear_faults();
        return;
      } catch (const SimCrash& crash) {
        story += " crashed-in-" + crash.step;
        host.restart_daemon();
        host.clear_faults();
        restart();
        if (below(3) == 0) maybe_crash();
      }
    }
    FAIL("it crashed for ever");
  }

  void disturb() {
    const auto name = names_[below(names_.size())];
    if (!exists(vm_key(name))) return;
    const auto uid = store->get(vm_key(name))->meta.uid;
    const auto seen = host.observe_vm(uid, 2).value();
    const bool node = seen.snapshot && seen.snapshot->ours;
    const bool cow = std::ranges::any_of(seen.disks, [](const auto& disk) { return disk.backend == "dm-snapshot"; });
    const auto kind = below(22);
    story += fmt::format(" {}:{}", name, kind);
    switch (kind) {
      case 0:
        return host.lose_sidecar(uid);
      case 1:
        return seen.directory_exists ? host.spoil_sidecar(uid, "vm.json is a symbolic link") : void();
      case 2:
        return node ? host.suspend(uid) : void();
      case 3:
        return seen.snapshot || seen.vmm.cgroup_populated ? void() : host.half_create(uid);
      case 4:
        return node ? host.wipe_node(uid) : void();
      case 5:
        return cow ? host.fill_cow(uid, mib(1 + below(80))) : void();
      case 6:
        return host.exit_vmm(uid, {.reason = below(2) == 0 ? "Crashed" : "GuestShutdown", .message = ""});
      case 7:
        return host.remove_link(actuators::tap_name(uid, below(2)));
      case 8:
        return host.reboot_host();
      case 9:
        return host.restart_daemon(), restart();
      case 10:
        return edit_vm([&](auto& spec, auto&) { spec.memory = mib(256 + 64 * below(3)); }, name);
      case 11:
        return edit_vm([&](auto&, auto& meta) { meta.labels["x"] = std::to_string(below(9)); }, name);
      case 12:
        return edit_vm([&](auto& spec, auto&) { spec.power_state = api::PowerState::Stopped; }, name);
      case 13:
        return edit_vm([&](auto& spec, auto&) { spec.power_state = api::PowerState::Running; }, name);
      case 14:
        return edit_vm([&](auto& spec, auto&) { spec.restart_nonce = std::to_string(++made_); }, name);
      case 15:
        return remove(vm_key(name));
      case 16:
        return add_vm();
      case 17:
        return cow && below(3) == 0 ? host.break_cow(uid) : void();
      case 18:
        return below(3) == 0 ? host.lose_directory(uid) : void();
      case 19:
        return maybe_crash();
      case 20:
        return host.set_monitor(uid, actuators::MonitorState::InternalError);
      default:
        return fail_some_step();
    }
  }

  void fail_some_step() {
    static const std::vector<std::string> kSteps{"ActivateRootDisk", "DeactivateRootDisk", "GrowRootCow",
                                                 "MakeTap",          "RemoveLink",         "LaunchVmm",
                                                 "WriteSidecar",     "RemoveVmDirectory",  "ReapTap"};
    const Error error{.code = ErrorCode::Unavailable, .message = "no space", .sys_errno = 28};
    host.fail_next(kSteps[below(kSteps.size())], error, below(2) == 0 ? FaultPoint::BeforeEffect : FaultPoint::AfterEffect,
                   1 + below(3));
  }

  std::uint64_t state_;
  std::uint64_t made_ = 0;
  std::vector<std::string> names_;
};

TEST_CASE("in random worlds, what is planned and applied comes to rest, and a delete leaves nothing") {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    CAPTURE(seed);
    RandomWorld world(seed);
    world.live(8);
    CHECK_MESSAGE(world.plans_nothing(), world.story);
    world.delete_all();
    CHECK_MESSAGE(world.host.leftovers().empty(),
                  world.story << " left: " << (world.host.leftovers().empty() ? "" : world.host.leftovers().front()));
    CHECK(world.leases() == 0);
  }
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine
