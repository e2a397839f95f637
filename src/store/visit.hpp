// SPDX-License-Identifier: Apache-2.0
// Looks at stored objects without copying them: what asks one question of every object asks it here.
#pragma once

#include <cstdint>
#include <functional>

#include "store/store.hpp"

namespace banger::store {

// Calls see with every object of the query, in list()'s order, as they were at one revision, which it answers. see may use the
// store. Errors: list()'s.
Result<Revision> visit(Store& store, const ListQuery& query, const std::function<void(const api::Object&)>& see);

// Another number than before whenever an object of the kind was made, changed or removed since.
Result<std::uint64_t> stamp(Store& store, api::Kind kind);

}  // namespace banger::store
