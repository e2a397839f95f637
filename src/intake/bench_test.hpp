// SPDX-License-Identifier: Apache-2.0
// A manifest directory on a real file system with a memory store behind it, for the tests of this room.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/event_sink.hpp"
#include "base/random.hpp"
#include "base/testing.hpp"
#include "intake/apply.hpp"
#include "intake/manifest_directory.hpp"
#include "store/objects.hpp"

namespace banger::intake {

using testing::ScratchDirectory;

struct RecordedEvent {
  api::ObjectKey involved;
  api::EventType type = api::EventType::Normal;
  std::string reason;
  std::string message;
};

class RecordingSink final : public api::EventSink {
 public:
  void record(const api::ObjectKey& involved, const std::string&, api::EventType type, std::string_view reason,
              std::string_view message) override {
    const std::scoped_lock lock(mutex_);
    events_.push_back({involved, type, std::string(reason), std::string(message)});
  }
  std::vector<RecordedEvent> with_reason(std::string_view reason) {
    const std::scoped_lock lock(mutex_);
    std::vector<RecordedEvent> found;
    for (const auto& event : events_) {
      if (event.reason == reason) found.push_back(event);
    }
    return found;
  }

 private:
  std::mutex mutex_;
  std::vector<RecordedEvent> events_;
};

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  REQUIRE(out.good());
}

inline std::string vm_yaml(const std::string& name, const std::string& more = "") {
  return "---\napiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: " + name + "}\nspec:\n  image: demo\n" +
         more;
}

inline api::ObjectKey vm_key(const std::string& name) {
  return {.kind = api::Kind::VirtualMachine, .ns = "default", .name = name};
}

// euid of this thread alone: the C library's call would change every thread's.
class AsNobody {
 public:
  AsNobody() { REQUIRE(::syscall(SYS_setresuid, -1, 65534, -1) == 0); }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() { CHECK(::syscall(SYS_setresuid, -1, 0, -1) == 0); }
};

// Files look old to it (its clock is ahead of theirs) unless a test says otherwise; a pass() is two scans with the time between
// them in which removals settle.
struct Bench {
  explicit Bench(WallTime start = WallTime{std::chrono::seconds{4'000'000'000}}) : clock(start) {
    std::filesystem::create_directory(root);
    restart();
  }

  // A new daemon on the same store.
  void restart() { intake = std::make_unique<ManifestDirectory>(options(), objects, events, clock); }
  [[nodiscard]] Options options() const {
    Options out{.directory = root.native()};
    out.record = record.native();
    return out;
  }
  void scan() {
    const auto scanned = intake->scan();
    REQUIRE_MESSAGE(scanned, (scanned ? "" : scanned.error().message));
  }
  void pass() {
    scan();
    clock.advance(std::chrono::milliseconds{500});
    scan();
  }

  void put(const std::string& file, const std::string& text) { write_text(root / file, text); }
  void erase(const std::string& file) { REQUIRE(std::filesystem::remove(root / file)); }

  std::optional<api::Object> find(const std::string& name) {
    auto object = store->get(vm_key(name));
    if (!object) return std::nullopt;
    return *std::move(object);
  }
  api::Object vm(const std::string& name) {
    auto object = find(name);
    REQUIRE_MESSAGE(object, name);
    return *object;
  }
  api::VirtualMachineSpec spec(const std::string& name) { return std::get<api::VirtualMachine>(vm(name).body).spec; }
  std::string owner(const std::string& name) {
    const auto it = owner_of(vm(name));
    return it ? it->file : "";
  }
  std::size_t vms() { return store->list({.kind = api::Kind::VirtualMachine})->objects.size(); }

  api::Object source() {
    auto object = store->get({.kind = api::Kind::ManifestSource, .ns = "", .name = "manifests"});
    REQUIRE(object);
    return *object;
  }
  api::ManifestSourceStatus status() { return std::get<api::ManifestSource>(source().body).status; }
  api::SourceFileStatus row(const std::string& file) {
    for (const auto& it : status().files) {
      if (it.file == file) return it;
    }
    return {.file = file, .state = "(no row)", .objects = 0, .message = ""};
  }
  api::Condition condition(std::string_view type) {
    const auto now = status();
    const auto* found = api::find_condition(now.conditions, type);
    REQUIRE(found != nullptr);
    return *found;
  }
  bool suspended() { return condition("PruneSuspended").status == api::ConditionStatus::True; }
  void confirm() {
    const auto token = status().prune_token;
    const auto edited = objects.edit(api::key_of(source()), [&](api::Object& object) -> Result<void> {
      std::get<api::ManifestSource>(object.body).spec.confirmed_prune_token = token;
      return {};
    });
    REQUIRE(edited);
  }

  ScratchDirectory scratch;
  const std::filesystem::path root = scratch.path() / "manifests";
  const std::filesystem::path record = scratch.path() / "manifests.read";
  std::unique_ptr<store::Store> store = store::make_memory_store();
  ManualClock clock;
  SeededRandom random{3};
  store::Objects objects{*store, clock, random};
  RecordingSink events;
  std::unique_ptr<ManifestDirectory> intake;
};

}  // namespace banger::intake
