// SPDX-License-Identifier: Apache-2.0
// The store without a disk: for unit tests and the simulation. Same contract, same decisions; nothing outlives it.
#include "store/cached_store.hpp"

namespace banger::store {
namespace {

class MemoryStore final : public CachedStore {
 public:
  MemoryStore() : CachedStore(Feed::Keep::Everything, {}) {}
  bool poisoned() override { return false; }

 protected:
  Result<void> persist(std::span<const Edit>) override { return {}; }
  Result<void> persist_compaction(Revision) override { return {}; }
};

}  // namespace

std::unique_ptr<Store> make_memory_store() { return std::make_unique<MemoryStore>(); }

}  // namespace banger::store
