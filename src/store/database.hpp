// SPDX-License-Identifier: Apache-2.0
// The one place that talks to RocksDB: its options, its errors, its exceptions. Keys and values are bytes here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::store {

// The lock that says whose the directory is; the directory is made if need be. Errors: Busy, Denied, Invalid (not a directory).
Result<UniqueFd> lock_directory(const std::string& directory);

// Internal: what is there is not what we wrote. The sentence ends with the advice.
Error damaged_store(std::string_view directory, std::string_view what);
inline constexpr std::string_view kDamageAdvice = "; restore it from a backup, or move the directory away and start anew";

// One atomic, synced write.
struct Batch {
  struct Operation {
    std::string key;
    std::optional<std::string> value;  // absent: erase
  };
  std::vector<Operation> operations;                               // in this order
  std::optional<std::pair<std::string, std::string>> erase_range;  // first of all: from, up to but without
};

// Methods may be called by several threads; write() by one at a time.
class Database {
 public:
  // Makes the directory and the database when they are not there. The directory stays locked until the Database is destroyed,
  // also while it is closed. Errors: as open_rocksdb_store().
  static Result<std::unique_ptr<Database>> open(const std::string& directory);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Back after a failed write: DB::Resume() does not work after a full disk in 7.8.3, closing and opening does.
  Result<void> reopen();
  void close();

  // Unavailable when it fails, whatever the reason: what became of the batch is known only after reopen().
  Result<void> write(const Batch& batch);

  // Memory to disk, so that the file set is complete from the start. Once, after the first write of a new database.
  Result<void> flush();

  // Calls visit for every key in [from, to) in order, until it answers false. An error of visit ends it and is returned.
  using Visit = std::function<Result<bool>(std::string_view key, std::string_view value)>;
  Result<void> scan(const std::string& from, const std::string& to, const Visit& visit);

  const std::string& directory() const { return directory_; }

 private:
  struct Handle;

  Database(std::string directory, UniqueFd lock);

  const std::string directory_;
  const UniqueFd lock_;  // flock: RocksDB's own LOCK is let go while it is closed
  const std::unique_ptr<Handle> handle_;
};

}  // namespace banger::store
