// SPDX-License-Identifier: Apache-2.0
#include "store/database.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <filesystem>
#include <mutex>
#include <shared_mutex>

#include "base/failpoint.hpp"
#include "base/files.hpp"
#include "store/rocksdb_logger.hpp"

namespace banger::store {

struct Database::Handle {
  std::shared_mutex mutex;  // shared: use of db; exclusive: opening and closing
  std::unique_ptr<rocksdb::DB> db;
};

namespace {

// The reasons are in docs/store.md.
rocksdb::Options make_options() {
  rocksdb::Options options;
  options.create_if_missing = true;
  // Nothing acknowledged is dropped silently; what a crash tears off the end is.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.recycle_log_file_num = 0;
  options.track_and_verify_wals_in_manifest = true;
  options.paranoid_checks = true;
  options.max_bgerror_resume_count = 0;
  // No LOG file: writing one on a full disk aborts the process where the library is built with assertions, as Debian's is.
  options.info_log = make_rocksdb_logger();
  // Small: some thousand objects of a few KiB.
  const auto cache = rocksdb::NewLRUCache(4U << 20U);
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(8U << 20U, cache);
  options.write_buffer_size = 2U << 20U;
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = 16U << 20U;
  options.max_open_files = 64;
  options.max_background_jobs = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_manifest_file_size = 4U << 20U;
  options.manifest_preallocation_size = 64U << 10U;
  return options;
}

bool is_full(const rocksdb::Status& status) {
  return status.IsNoSpace() || status.ToString().find("No space left") != std::string::npos;
}

Error unavailable(const std::string& directory, const rocksdb::Status& status) {
  if (is_full(status)) {
    return {ErrorCode::Unavailable, fmt::format("the disk that holds the store in {} is full: make room on it.", directory)};
  }
  return {ErrorCode::Unavailable, fmt::format("the store in {}: {}, disk full?", directory, status.ToString())};
}

Error open_error(const std::string& directory, const rocksdb::Status& status) {
  const auto text = status.ToString();
  if (status.IsIOError() && text.find("While lock file") != std::string::npos) {
    return {ErrorCode::Busy, fmt::format("another process has the store in {} open ({}); only one may", directory, text)};
  }
  if (is_full(status)) return unavailable(directory, status);
  if (text.find("Permission denied") != std::string::npos || text.find("Read-only file system") != std::string::npos) {
    return {ErrorCode::Denied, fmt::format("the store in {} cannot be opened: {}", directory, text)};
  }
  // The machine's trouble, not the database's: what is on the disk may be whole.
  for (const std::string_view passing : {"Too many open files", "Cannot allocate memory", "Input/output error", "Disk quota"}) {
    if (status.IsIOError() && text.find(passing) != std::string::npos)
      return {ErrorCode::Unavailable, fmt::format("the store in {} cannot be read now: {}", directory, text)};
  }
  if (status.IsMemoryLimit()) return unavailable(directory, status);
  return damaged_store(directory, text);
}

// A database without CURRENT or without any write-ahead log would be opened as a new or an older one, without a word.
Result<void> check_files(const std::string& directory) {
  bool current = false;
  bool logs = false;
  bool tables = false;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    const auto name = at->path().filename().native();
    current = current || name == "CURRENT";
    logs = logs || name.ends_with(".log");
    tables = tables || name.ends_with(".sst");
  }
  if (error) return fail(errno_error(fmt::format("reading the directory {}", directory), error.value()));
  const auto damaged = [&](std::string_view missing) {
    return fail(damaged_store(directory, fmt::format("{} is missing", missing)));
  };
  if (!current && (logs || tables)) return damaged("the file CURRENT");
  if (current && tables && !logs) return damaged("the write-ahead log (*.log)");
  return {};
}

}  // namespace

Error damaged_store(std::string_view directory, std::string_view what) {
  return internal(fmt::format("the store in {} is damaged, nothing was changed: {}{}", directory, what, kDamageAdvice));
}

Result<UniqueFd> lock_directory(const std::string& directory) {
  if (auto made = make_directories(directory, 0700); !made) {
    auto error = std::move(made).error();
    if (error.sys_errno == ENOTDIR) error.code = ErrorCode::Invalid;
    return fail(with_context(std::move(error), "the directory of the store"));
  }
  if (::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) {
    return fail(errno_error(fmt::format("the directory {} of the store must be readable and writable", directory), errno));
  }
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening the directory {} of the store", directory), errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(errno_error(fmt::format("locking the directory {} of the store", directory), errno));
    return fail({ErrorCode::Busy, fmt::format("another process has the store in {} open; only one may", directory)});
  }
  return fd;
}

Database::Database(std::string directory, UniqueFd lock)
    : directory_(std::move(directory)), lock_(std::move(lock)), handle_(std::make_unique<Handle>()) {}

Database::~Database() { close(); }

Result<std::unique_ptr<Database>> Database::open(const std::string& directory) {
  BGR_TRY(auto lock, lock_directory(directory));
  std::unique_ptr<Database> database(new Database(directory, std::move(lock)));
  BGR_CHECK(database->reopen());
  return database;
}

void Database::close() {
  const std::unique_lock lock(handle_->mutex);
  handle_->db.reset();
}

Result<void> Database::reopen() {
  if (auto error = failpoint("store.open")) return fail(*std::move(error));
  const std::unique_lock lock(handle_->mutex);
  handle_->db.reset();
  BGR_CHECK(check_files(directory_));
  try {
    rocksdb::DB* db = nullptr;
    const auto status = rocksdb::DB::Open(make_options(), directory_, &db);
    handle_->db.reset(db);
    if (!status.ok()) return fail(open_error(directory_, status));
  } catch (const std::exception& error) {
    return fail(internal(fmt::format("opening the store in {}: {}", directory_, error.what())));
  }
  return {};
}

Result<void> Database::write(const Batch& batch) {
  if (auto error = failpoint("store.write.before")) {
    return fail(unavailable(directory_, rocksdb::Status::IOError(error->message)));
  }
  const std::shared_lock lock(handle_->mutex);
  if (handle_->db == nullptr) return fail({ErrorCode::Unavailable, fmt::format("the store in {} is closed", directory_)});
  rocksdb::WriteBatch writes;
  if (batch.erase_range) writes.DeleteRange(batch.erase_range->first, batch.erase_range->second);
  for (const auto& [key, value] : batch.operations) value ? writes.Put(key, *value) : writes.Delete(key);
  rocksdb::WriteOptions options;
  options.sync = true;
  if (const auto status = handle_->db->Write(options, &writes); !status.ok()) return fail(unavailable(directory_, status));
  if (auto error = failpoint("store.write.after")) {
    return fail(unavailable(directory_, rocksdb::Status::IOError(error->message)));
  }
  return {};
}

Result<void> Database::flush() {
  const std::shared_lock lock(handle_->mutex);
  if (const auto status = handle_->db->Flush({}); !status.ok()) return fail(unavailable(directory_, status));
  return {};
}

Result<void> Database::scan(const std::string& from, const std::string& to, const Visit& visit) {
  const std::shared_lock lock(handle_->mutex);
  if (handle_->db == nullptr) return fail({ErrorCode::Unavailable, fmt::format("the store in {} is closed", directory_)});
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  options.readahead_size = std::size_t{256} << 10U;  // scans are of all keys of a kind: not a read for each block of 4 KiB
  const rocksdb::Slice bound(to);
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> at(handle_->db->NewIterator(options));
  for (at->Seek(from); at->Valid(); at->Next()) {
    BGR_TRY(const bool more, visit(at->key().ToStringView(), at->value().ToStringView()));
    if (!more) return {};
  }
  if (!at->status().ok()) return fail(open_error(directory_, at->status()));
  return {};
}

}  // namespace banger::store
