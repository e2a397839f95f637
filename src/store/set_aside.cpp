// SPDX-License-Identifier: Apache-2.0
// What becomes of a database that cannot be used: it is renamed whole, so that a new one can take its place and nobody uses half
// of it.
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/files.hpp"
#include "base/unique_fd.hpp"
#include "store/database.hpp"
#include "store/store.hpp"

namespace banger::store {
namespace {

enum class Standing { Nothing, Something, NotADirectory, NoDatabase };

// What stands at the path, without opening a database: RocksDB would make one.
Result<Standing> look(const std::string& directory) {
  struct stat info{};
  if (::stat(directory.c_str(), &info) != 0) {
    if (errno == ENOENT && ::lstat(directory.c_str(), &info) != 0) return Standing::Nothing;
    return fail(errno_error(fmt::format("looking at the store's directory {}", directory), errno));
  }
  if (!S_ISDIR(info.st_mode)) return Standing::NotADirectory;
  bool current = false;
  bool anything = false;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    const auto name = at->path().filename().native();
    current = current || name == "CURRENT";
    anything = anything || name != "LOCK";
  }
  if (error) return fail(errno_error(fmt::format("reading the store's directory {}", directory), error.value()));
  if (current) return Standing::Something;
  return anything ? Standing::NoDatabase : Standing::Nothing;
}

// 20261121T130511Z
std::string stamp(WallTime now) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto day = std::chrono::floor<std::chrono::days>(seconds);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(seconds - day);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()), time.hours().count(), time.minutes().count(), time.seconds().count());
}

std::filesystem::path parent_of(const std::string& directory) { return std::filesystem::path(directory).parent_path(); }

Result<std::string> set_aside(const std::string& directory, WallTime now) {
  const auto wanted = fmt::format("{}.damaged-{}", directory, stamp(now));
  auto target = wanted;
  for (int number = 2; ::renameat2(AT_FDCWD, directory.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0; ++number) {
    if (errno != EEXIST || number > 1'000) {
      return fail(errno_error(fmt::format("renaming the damaged store {} to {}", directory, target), errno));
    }
    target = fmt::format("{}-{}", wanted, number);
  }
  BGR_CHECK(fsync_directory(parent_of(directory)));
  return target;
}

// Of a damaged_store() error.
std::string reason_of(const std::string& directory, std::string message) {
  if (message.ends_with(kDamageAdvice)) message.resize(message.size() - kDamageAdvice.size());
  const auto prefix = damaged_store(directory, "").message;
  const auto head = std::string_view(prefix).substr(0, prefix.size() - kDamageAdvice.size());
  if (message.starts_with(head)) message.erase(0, head.size());
  return message;
}

}  // namespace

Result<FoundStore> find_rocksdb_store(const std::string& directory, WallTime now) {
  BGR_TRY(const auto standing, look(directory));
  FoundStore found;
  if (standing == Standing::Nothing) return found;
  if (standing == Standing::NotADirectory) {
    found.damage = "it is not a directory";
    BGR_TRY(found.set_aside, set_aside(directory, now));
    return found;
  }
  if (standing == Standing::Something) {
    auto opened = open_rocksdb_store(directory);
    if (opened && (*opened)->revision() > 0) {
      found.store = *std::move(opened);
      return found;
    }
    if (!opened && opened.error().code != ErrorCode::Internal) return fail(std::move(opened).error());
    // None is put in its place before something was written to it.
    found.damage = opened ? "it is empty" : reason_of(directory, std::move(opened).error().message);
  } else {
    found.damage = "the file CURRENT is missing";
  }
  // Another process that has it open uses it.
  BGR_TRY(const auto lock, lock_directory(directory));
  BGR_TRY(found.set_aside, set_aside(directory, now));
  return found;
}

Result<std::unique_ptr<Store>> settle_rocksdb_store(std::unique_ptr<Store> store, const std::string& from,
                                                    const std::string& to) {
  store.reset();
  BGR_CHECK(fsync_directory(from));
  // What is left of an empty directory goes; anything else is in the way and says so.
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) != 0) {
    return fail(errno_error(fmt::format("putting the new store {} in the place of {}", from, to), errno));
  }
  BGR_CHECK(fsync_directory(parent_of(to)));
  return open_rocksdb_store(to);
}

Result<void> discard_rocksdb_store(const std::string& directory) { return remove_tree(directory); }

}  // namespace banger::store
