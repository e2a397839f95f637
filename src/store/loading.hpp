// SPDX-License-Identifier: Apache-2.0
// The state of a database, read and checked whole: every checksum, every index, no hole in the changelog.
#pragma once

#include <cstddef>

#include "base/result.hpp"
#include "store/database.hpp"
#include "store/feed.hpp"
#include "store/table.hpp"

namespace banger::store {

struct Loaded {
  Table table;
  Revision compacted = 0;
};

// Writes the first values of an empty database (its first change will be base + 1), changes nothing else. Errors: Internal,
// naming the key, for anything that is not as we wrote it; Invalid for a format newer than ours.
Result<Loaded> load(Database& database, Revision base = 0);

// Feed::History over the changelog.
Result<Scanned> read_changes(Database& database, const WatchQuery& query, Revision last, std::size_t max);

}  // namespace banger::store
