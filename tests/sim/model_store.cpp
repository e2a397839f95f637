// SPDX-License-Identifier: Apache-2.0
#include "sim/model_store.hpp"

#include <cerrno>

namespace banger::simulation {
namespace {

void floor(std::optional<WallTime>& time) {
  if (time) time = std::chrono::floor<std::chrono::seconds>(*time);
}

// What the text of an object keeps of its times.
void keep_whole_seconds(api::Object& object) {
  floor(object.meta.creation_time);
  floor(object.meta.deletion_time);
  if (auto* event = std::get_if<api::Event>(&object.body)) {
    floor(event->first_time);
    floor(event->last_time);
  }
  auto* vm = std::get_if<api::VirtualMachine>(&object.body);
  if (vm == nullptr) return;
  floor(vm->status.restart_after);
  if (vm->status.vmm) floor(vm->status.vmm->started);
  if (vm->status.last_termination) floor(vm->status.last_termination->finished);
}

class ModelStore final : public store::CachedStore {
 public:
  ModelStore(Platter& platter, Faults& faults, Trace& trace)
      : CachedStore(store::Feed::Keep::Everything, {}, platter.text ? Form::Text : Form::Objects),
        platter_(platter),
        faults_(faults),
        trace_(trace) {
    feed().start(platter.table.revision(), platter.table.revision());
    load(platter.table, {});
  }

  bool poisoned() override { return false; }

 protected:
  void normalise(api::Object& object) override { keep_whole_seconds(object); }
  Result<void> persist(std::span<const store::Edit> edits) override {
    if (platter_.killed) return fail(internal("the daemon is dead"));
    if (platter_.full) return fail(errno_error("writing the database", ENOSPC));
    const auto fault = faults_.at(static_cast<std::size_t>(Place::StoreWrite));
    if (fault && !fault->after) return broken(*fault, edits);
    for (const auto& edit : edits) platter_.table.apply(edit);
    // A write that failed after it was durable is found again when the database is opened again, so the daemon ends with it here.
    if (fault) return broken({.after = true, .sys_errno = {}}, edits);
    note(edits);
    return {};
  }
  Result<void> persist_compaction(store::Revision) override { return {}; }

 private:
  Result<void> broken(const Fault& fault, std::span<const store::Edit> edits) {
    trace_.line("store: {} writing {}", describe(fault), api::to_string(edits.front().key));
    if (fault.sys_errno) return fail(error_of(fault));
    platter_.killed = true;
    return fail(internal("the daemon is dead"));
  }

  void note(std::span<const store::Edit> edits) {
    for (const auto& edit : edits) {
      trace_.mix(edit.text);
      trace_.mix(edit.revision);
      trace_.mix(edit.object->meta.name);
      if (const auto* vm = std::get_if<api::VirtualMachine>(&edit.object->body)) {
        for (const auto& condition : vm->status.conditions) trace_.mix(condition.reason);
      }
      trace_.line("store: {} {} at {}", edit.type == store::ChangeType::Deleted ? "remove" : "write",
                  trace_.keeps() ? api::to_string(edit.key) : std::string(), edit.revision);
    }
  }

  Platter& platter_;
  Faults& faults_;
  Trace& trace_;
};

}  // namespace

std::unique_ptr<store::Store> open_model_store(Platter& platter, Faults& faults, Trace& trace) {
  return std::make_unique<ModelStore>(platter, faults, trace);
}

}  // namespace banger::simulation
