// SPDX-License-Identifier: Apache-2.0
// A whole small world for reconcile tests: simulated host, memory store, all reconcilers, and a loop that stands for the runtime.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "actuators/sim/sim_host.hpp"
#include "reconcilers/kinds.hpp"
#include "reconcilers/publish.hpp"
#include "store/store.hpp"

namespace banger::reconcilers {

class RecordingEvents final : public api::EventSink {
 public:
  struct Entry {
    api::ObjectKey involved;
    api::EventType type;
    std::string reason;
    std::string message;
  };
  void record(const api::ObjectKey& involved, const std::string&, api::EventType type, std::string_view reason,
              std::string_view message) override {
    entries.push_back({involved, type, std::string(reason), std::string(message)});
  }
  [[nodiscard]] std::ptrdiff_t count(std::string_view reason) const {
    return std::ranges::count(entries, reason, [](const Entry& entry) -> std::string_view { return entry.reason; });
  }
  std::vector<Entry> entries;
};

struct World {
  ManualClock clock;
  SeededRandom random{7};
  actuators::Layout layout{.state_dir = "/var/lib/banger", .run_dir = "/run/banger"};
  actuators::sim::SimHost host{layout, clock};
  std::unique_ptr<store::Store> store = store::make_memory_store();
  store::Objects objects{*store, clock, random};
  RecordingEvents events;
  std::vector<std::unique_ptr<Reconciler>> reconcilers;

  World() {
    host.add_file("/srv/demo.tar", mib(10), 7);
    host.add_host_kernel(
        {.version = "6.1.0-1-cloud-amd64", .path = "/boot/vmlinuz-6.1.0-1", .modules_dir = "/lib/modules/6.1.0-1"});
    restart();
  }

  // New reconcilers on the same store and host.
  void restart() { reconcilers = make_reconcilers({objects, host, events, clock, random}, layout); }

  api::Object create(api::Object object) {
    auto created = objects.create(std::move(object));
    REQUIRE_MESSAGE(created.has_value(), (created ? std::string() : created.error().error.message));
    return *created;
  }
  void create_builtins() { REQUIRE(ensure_builtins(objects).has_value()); }
  void create_image(const std::string& name = "demo", const std::string& path = "/srv/demo.tar") {
    api::Object object;
    object.meta.name = name;
    object.body = api::Image{.spec = {.path = path}, .status = {}};
    create(std::move(object));
  }
  static api::Object vm_object(const std::string& name) {
    api::Object object;
    object.meta.name = name;
    object.meta.ns = "default";
    api::VirtualMachineSpec spec;
    spec.image = "demo";
    spec.network_interfaces = {{.network = "default", .address = {}}};
    spec.ssh = api::SshSpec{};
    spec.disks = {{.name = "data", .size = mib(64), .mount_path = "/data"}};
    object.body = api::VirtualMachine{.spec = std::move(spec), .status = {}};
    return object;
  }
  std::string create_vm(const std::string& name = "web") { return create(vm_object(name)).meta.uid; }

  static api::ObjectKey vm_key(const std::string& name = "web") {
    return {.kind = api::Kind::VirtualMachine, .ns = "default", .name = name};
  }
  static api::ObjectKey key(api::Kind kind, const std::string& name) { return {.kind = kind, .ns = "", .name = name}; }

  bool exists(const api::ObjectKey& key) { return store->get(key).has_value(); }
  template <class Body>
  Body body(const api::ObjectKey& key) {
    auto object = store->get(key);
    REQUIRE(object.has_value());
    return std::get<Body>(object->body);
  }
  api::VirtualMachineStatus status(const std::string& name = "web") { return body<api::VirtualMachine>(vm_key(name)).status; }
  static std::string condition(const std::vector<api::Condition>& conditions, std::string_view type) {
    const auto* found = api::find_condition(conditions, type);
    if (found == nullptr) return "absent";
    const char* status = found->status == api::ConditionStatus::True    ? "True"
                         : found->status == api::ConditionStatus::False ? "False"
                                                                        : "Unknown";
    return std::string(status) + " " + found->reason;
  }
  std::string condition(std::string_view type, const std::string& name = "web") {
    return condition(status(name).conditions, type);
  }
  std::string message(std::string_view type, const std::string& name = "web") {
    const auto conditions = status(name).conditions;
    const auto* found = api::find_condition(conditions, type);
    return found == nullptr ? "" : found->message;
  }

  template <class Change>
  void edit_vm(Change change, const std::string& name = "web") {
    const auto edited = objects.edit(vm_key(name), [&](api::Object& object) -> Result<void> {
      change(std::get<api::VirtualMachine>(object.body).spec, object.meta);
      return {};
    });
    REQUIRE_MESSAGE(edited.has_value(), (edited ? std::string() : edited.error().error.message));
  }
  void remove(const api::ObjectKey& key) { REQUIRE(objects.remove(key, {}).has_value()); }

  Outcome pass(const api::ObjectKey& key) {
    for (auto& reconciler : reconcilers) {
      if (reconciler->kind() == key.kind) return reconciler->reconcile(key);
    }
    return {};
  }

  std::vector<api::ObjectKey> keys() {
    std::vector<api::ObjectKey> all;
    for (const auto kind : {api::Kind::Network, api::Kind::Kernel, api::Kind::Image, api::Kind::VirtualMachine}) {
      for (const auto& object : list_all(objects, kind)) all.push_back(api::key_of(object));
    }
    return all;
  }

  // One pass over every key; true when nothing changed and nothing asks for a look within five seconds.
  bool round() {
    const auto revision = store->revision();
    const auto mutations = host.mutations();
    std::chrono::milliseconds soonest = std::chrono::hours(1);
    bool failed = false;
    for (const auto& each : keys()) {
      const auto outcome = pass(each);
      if (outcome.error) failed = true;
      if (outcome.requeue_after) soonest = std::min(soonest, *outcome.requeue_after);
    }
    const bool changed = store->revision() != revision || host.mutations() != mutations;
    if (changed && !failed) return false;
    if (failed) {
      clock.advance(std::chrono::seconds(1));
      return false;
    }
    if (soonest >= std::chrono::seconds(5)) return true;
    clock.advance(std::max(soonest, std::chrono::milliseconds(1)));
    return false;
  }
  bool settles(std::size_t rounds = 300) {
    for (std::size_t i = 0; i < rounds; ++i) {
      if (round()) return true;
    }
    return false;
  }
  void settle() {
    if (settles()) return;
    for (const auto& line : host.log()) MESSAGE(line);
    FAIL("the world does not come to rest");
  }

  // A Ready VM, and its uid.
  std::string running_vm(const std::string& name = "web") {
    create_builtins();
    create_image();
    const auto uid = create_vm(name);
    settle();
    REQUIRE(condition("Ready", name) == "True Ready");
    return uid;
  }
  std::ptrdiff_t leases() { return std::ssize(list_all(objects, api::Kind::AddressLease)); }
};

}  // namespace banger::reconcilers
