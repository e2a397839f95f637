// SPDX-License-Identifier: Apache-2.0
#include "store/loading.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "store/naming.hpp"
#include "store/record.hpp"

namespace banger::store {
namespace {

// All keys with a prefix: '0' is the character after '/'.
using Check = std::function<Result<void>(std::string_view key, std::string_view payload)>;
Result<void> for_each(Database& database, char prefix, const Check& check) {
  return database.scan({prefix, '/'}, {prefix, '0'}, [&](std::string_view key, std::string_view value) -> Result<bool> {
    BGR_TRY(const auto payload, record::unseal(key, value));
    BGR_CHECK(check(key, payload));
    return true;
  });
}

using Numbers = std::map<std::string, std::uint64_t, std::less<>>;

Result<Numbers> read_numbers(Database& database) {
  Numbers numbers;
  BGR_CHECK(for_each(database, 'm', [&](std::string_view key, std::string_view payload) -> Result<void> {
    BGR_TRY(numbers[std::string(key)], record::parse_number(key, payload));
    return {};
  }));
  return numbers;
}

Result<std::uint64_t> number_at(const Numbers& numbers, std::string_view key) {
  const auto found = numbers.find(key);
  if (found == numbers.end()) return fail(internal(fmt::format("the key {} is missing", key)));
  return found->second;
}

Result<Loaded> initialise(Database& database, Revision base) {
  std::string stranger;
  BGR_CHECK(database.scan("", "\xff", [&](std::string_view key, std::string_view) -> Result<bool> {
    stranger = key;
    return false;
  }));
  if (!stranger.empty()) {
    return fail(
        internal(fmt::format("the key {} is missing, though there is {}", record::kFormatKey, record::describe_key(stranger))));
  }
  Batch batch;
  for (const auto& [key, value] : {std::pair{record::kFormatKey, record::kFormat}, std::pair{record::kRevisionKey, base},
                                   std::pair{record::kCompactedKey, base}}) {
    batch.operations.push_back({std::string(key), record::seal(key, record::number(value))});
  }
  BGR_CHECK(database.write(batch));
  BGR_CHECK(database.flush());
  Loaded loaded{.compacted = base};
  loaded.table.set_revision(base);
  return loaded;
}

Result<void> load_objects(Database& database, Table& table) {
  return for_each(database, 'o', [&](std::string_view key, std::string_view payload) -> Result<void> {
    BGR_TRY(auto object, record::parse_object(key, payload));
    const auto version = object->meta.resource_version;
    if (version == 0 || version > table.revision()) {
      return fail(
          internal(fmt::format("{} has revision {}, the store {}", record::describe_key(key), version, table.revision())));
    }
    const auto object_key = api::key_of(*object);
    table.put(object_key, std::move(object));
    return {};
  });
}

using Index = std::vector<std::pair<std::string, std::string>>;  // key and value

// The smallest key that is missing.
Result<std::optional<std::string>> check_index(Database& database, char prefix, Index expected) {
  std::ranges::sort(expected);
  auto at = expected.begin();
  std::optional<std::string> missing;
  const auto check = [&](std::string_view key, std::string_view payload) -> Result<void> {
    for (; at != expected.end() && at->first < key; ++at) {
      if (!missing) missing = at->first;
    }
    if (at == expected.end() || at->first != key || at->second != payload) {
      return fail(internal(fmt::format("the index {} points to {}, which is not there", record::describe_key(key),
                                       record::describe_key(payload))));
    }
    ++at;
    return {};
  };
  BGR_CHECK(for_each(database, prefix, check));
  if (at != expected.end() && !missing) missing = at->first;
  return missing;
}

// Each index entry points to a living object, and there are as many as objects with a uid.
Result<void> check_indexes(Database& database, const Table& table) {
  Index uids;
  Index short_ids;
  uids.reserve(table.objects().size());
  short_ids.reserve(table.objects().size());
  for (const auto& [key, object] : table.objects()) {
    const auto& uid = object->meta.uid;
    if (const auto id = short_id(uid)) {
      uids.emplace_back(record::uid_key(uid), record::object_key(key));
      short_ids.emplace_back(record::short_id_key(*id), uid);
    }
  }
  BGR_TRY(const auto no_uid, check_index(database, 'u', std::move(uids)));
  BGR_TRY(const auto no_short_id, check_index(database, 's', std::move(short_ids)));
  const auto& missing = no_short_id ? no_short_id : no_uid;
  if (!missing) return {};
  return fail(internal(fmt::format("the index {} is missing", record::describe_key(*missing))));
}

Result<void> check_changelog(Database& database, Revision compacted, Revision revision) {
  Revision last = compacted;
  const auto check = [&](std::string_view key, std::string_view payload) -> Result<void> {
    BGR_TRY(const Revision found, record::parse_change_key(key));
    BGR_CHECK(record::parse_change(key, payload));
    if (found != last + 1) {
      return fail(internal(fmt::format("the changelog has revision {} where {} was expected", found, last + 1)));
    }
    last = found;
    return {};
  };
  BGR_CHECK(for_each(database, 'c', check));
  if (last == revision) return {};
  return fail(internal(fmt::format("the changelog ends at revision {}, the store is at {}", last, revision)));
}

Result<Loaded> load_checked(Database& database, Revision base) {
  BGR_TRY(auto numbers, read_numbers(database));
  if (!numbers.contains(record::kFormatKey)) return initialise(database, base);
  if (numbers[std::string(record::kFormatKey)] != record::kFormat) {
    return fail(invalid(fmt::format("it has format {}, this version reads {}: run the version that wrote it",
                                    numbers[std::string(record::kFormatKey)], record::kFormat)));
  }
  Loaded loaded;
  BGR_TRY(const Revision revision, number_at(numbers, record::kRevisionKey));
  BGR_TRY(loaded.compacted, number_at(numbers, record::kCompactedKey));
  loaded.table.set_revision(revision);
  BGR_CHECK(load_objects(database, loaded.table));
  BGR_CHECK(check_indexes(database, loaded.table));
  BGR_CHECK(check_changelog(database, loaded.compacted, revision));
  return loaded;
}

}  // namespace

Result<Loaded> load(Database& database, Revision base) {
  auto loaded = load_checked(database, base);
  if (loaded) return loaded;
  auto error = std::move(loaded).error();
  if (error.code == ErrorCode::Internal) {
    // Found by RocksDB in the middle of a scan: said already.
    if (error.message.ends_with(kDamageAdvice)) return fail(std::move(error));
    return fail(damaged_store(database.directory(), error.message));
  }
  if (error.code == ErrorCode::Invalid) {
    return fail(with_context(std::move(error), fmt::format("the store in {} cannot be used", database.directory())));
  }
  return fail(std::move(error));
}

Result<Scanned> read_changes(Database& database, const WatchQuery& query, Revision last, std::size_t max) {
  Scanned scanned{.upto = query.after};
  const auto visit = [&](std::string_view key, std::string_view value) -> Result<bool> {
    BGR_TRY(const auto payload, record::unseal(key, value));
    BGR_TRY(const Revision revision, record::parse_change_key(key));
    BGR_TRY(const auto stored, record::parse_change(key, payload));
    BGR_TRY(const auto object_key, record::parse_object_key(stored.object_key));
    if (revision != scanned.upto + 1) return fail(internal(fmt::format("change {} is missing", scanned.upto + 1)));
    scanned.upto = revision;
    if (query.kind && object_key.kind != *query.kind) return true;
    BGR_TRY(auto change, record::decode_change(key, revision, stored));
    scanned.changes.push_back(std::move(change));
    return scanned.changes.size() < max;
  };
  BGR_CHECK(database.scan(record::change_key(query.after + 1), record::change_key(last + 1), visit));
  if (scanned.upto == query.after) return fail(internal(fmt::format("change {} is missing", query.after + 1)));
  return scanned;
}

}  // namespace banger::store
