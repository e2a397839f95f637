// SPDX-License-Identifier: Apache-2.0
// RocksDB's messages, into our log instead of a file of its own.
#pragma once

#include <memory>

namespace rocksdb {
class Logger;
}

namespace banger::store {

std::shared_ptr<rocksdb::Logger> make_rocksdb_logger();  // from level warning

}  // namespace banger::store
