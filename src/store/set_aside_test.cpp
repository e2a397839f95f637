// SPDX-License-Identifier: Apache-2.0
// Every way a database can be damaged, each with its end: opened, set aside whole, or refused and left alone.
#include <doctest/doctest.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "base/files.hpp"
#include "store/database.hpp"
#include "store/fixtures_test.hpp"
#include "store/record.hpp"

namespace banger::store {
namespace {

namespace fs = std::filesystem;

constexpr WallTime kNow{std::chrono::seconds{1'795'266'311}};  // 2026-11-21 13:05:11 UTC
constexpr int kObjects = 60;

// The only file whose name is as said.
fs::path only(const fs::path& directory, const std::function<bool(const std::string&)>& wanted) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (wanted(entry.path().filename())) found.push_back(entry.path());
  }
  REQUIRE(!found.empty());
  std::ranges::sort(found, {}, [](const fs::path& path) { return fs::file_size(path); });
  return found.back();
}
fs::path manifest(const fs::path& db) {
  return only(db, [](const auto& name) { return name.starts_with("MANIFEST-"); });
}
fs::path table(const fs::path& db) {
  return only(db, [](const auto& name) { return name.ends_with(".sst"); });
}
fs::path log(const fs::path& db) {
  return only(db, [](const auto& name) { return name.ends_with(".log"); });
}

void flip(const fs::path& path, double where) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto at = static_cast<std::streamoff>(static_cast<double>(fs::file_size(path)) * where);
  std::string bytes(4, '\0');
  file.seekg(at);
  file.read(bytes.data(), 4);
  for (auto& byte : bytes) byte = static_cast<char>(byte ^ 0x5a);
  file.seekp(at);
  file.write(bytes.data(), 4);
  REQUIRE(file.good());
}
void truncate(const fs::path& path) { fs::resize_file(path, fs::file_size(path) / 2); }
void overwrite(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// Some objects in a table on disk, some in the log only.
void fill_store(const std::string& directory) {
  {
    const auto store = must_open(directory);
    for (int i = 0; i < kObjects / 2; ++i) must(store->create(make_vm("vm-" + std::to_string(i))));
  }
  must(must(Database::open(directory))->flush());
  const auto store = must_open(directory);
  for (int i = kObjects / 2; i < kObjects; ++i) must(store->create(make_vm("vm-" + std::to_string(i))));
}

void put(const std::string& directory, std::string_view key, std::optional<std::string> value) {
  must(must(Database::open(directory))->write({.operations = {{std::string(key), std::move(value)}}}));
}
void spoil_value(const std::string& directory) {
  const auto key = record::object_key(vm_key("vm-3"));
  put(directory, key, "\x01garbage!");
}

std::string directory_of(const fs::path& path) { return path.native(); }

enum class End { Opened, SetAside, Refused, Nothing };

struct Damage {
  std::string name;
  std::function<void(const fs::path& db)> damage;
  End end = End::SetAside;
  std::string says;  // part of the reason or of the refusal
};

const std::vector<Damage>& damages() {
  static const std::vector<Damage> all{
      {"nothing at all", [](const fs::path&) {}, End::Opened, ""},
      {"CURRENT is missing", [](const fs::path& db) { fs::remove(db / "CURRENT"); }, End::SetAside, "CURRENT is missing"},
      {"CURRENT is garbage", [](const fs::path& db) { overwrite(db / "CURRENT", "garbage"); }, End::SetAside, "CURRENT"},
      {"CURRENT is empty", [](const fs::path& db) { overwrite(db / "CURRENT", ""); }, End::SetAside, "CURRENT"},
      {"MANIFEST is missing", [](const fs::path& db) { fs::remove(manifest(db)); }, End::SetAside, "MANIFEST"},
      {"MANIFEST is cut in half", [](const fs::path& db) { truncate(manifest(db)); }, End::SetAside, ""},
      {"MANIFEST has flipped bytes", [](const fs::path& db) { flip(manifest(db), 0.4); }, End::SetAside, "orruption"},
      {"a table is missing", [](const fs::path& db) { fs::remove(table(db)); }, End::SetAside, "No such file"},
      {"a table is cut in half", [](const fs::path& db) { truncate(table(db)); }, End::SetAside, ".sst"},
      {"a table has flipped bytes", [](const fs::path& db) { flip(table(db), 0.3); }, End::SetAside, "orruption"},
      {"the log has flipped bytes in its middle", [](const fs::path& db) { flip(log(db), 0.5); }, End::SetAside, "orruption"},
      {"the log is missing",
       [](const fs::path& db) {
         std::vector<fs::path> logs;
         for (const auto& entry : fs::directory_iterator(db)) {
           if (entry.path().extension() == ".log") logs.push_back(entry.path());
         }
         for (const auto& path : logs) fs::remove(path);
       },
       End::SetAside, "*.log"},
      {"the log is torn at its end", [](const fs::path& db) { fs::resize_file(log(db), fs::file_size(log(db)) - 7); },
       End::Opened, ""},
      {"a value's checksum is wrong", [](const fs::path& db) { spoil_value(directory_of(db)); }, End::SetAside, "vm-3"},
      {"the marker of the format is missing", [](const fs::path& db) { put(directory_of(db), record::kFormatKey, std::nullopt); },
       End::SetAside, "m/format is missing"},
      {"the format is newer",
       [](const fs::path& db) {
         put(directory_of(db), record::kFormatKey, record::seal(record::kFormatKey, record::number(record::kFormat + 1)));
       },
       End::Refused, "run the version that wrote it"},
      {"OPTIONS is garbage",
       [](const fs::path& db) { overwrite(only(db, [](const auto& name) { return name.starts_with("OPTIONS-"); }), "garbage"); },
       End::Opened, ""},
      {"IDENTITY is missing", [](const fs::path& db) { fs::remove(db / "IDENTITY"); }, End::Opened, ""},
      {"a file stands in place of the directory",
       [](const fs::path& db) {
         fs::remove_all(db);
         overwrite(db, "not a directory");
       },
       End::SetAside, "not a directory"},
      {"the directory is gone", [](const fs::path& db) { fs::remove_all(db); }, End::Nothing, ""},
      {"every file in the directory is gone",
       [](const fs::path& db) {
         fs::remove_all(db);
         fs::create_directory(db);
       },
       End::Nothing, ""},
      {"the directory holds an empty database",
       [](const fs::path& db) {
         fs::remove_all(db);
         must_open(directory_of(db));
       },
       End::SetAside, "it is empty"},
      {"a link to nowhere stands in place of the directory",
       [](const fs::path& db) {
         fs::remove_all(db);
         fs::create_symlink(db.parent_path() / "unmounted", db);
       },
       End::Refused, "looking at the store's directory"},
  };
  return all;
}

std::map<std::string, std::string> files_below(const fs::path& directory) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.is_regular_file()) all[entry.path().filename()] = must(read_file(entry.path(), mib(64)));
  }
  return all;
}

std::vector<std::string> set_aside_beside(const TempDirectory& directory) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(directory.path())) {
    if (entry.path().filename().native().find(".damaged-") != std::string::npos) found.push_back(entry.path());
  }
  return found;
}

void check_set_aside(const Damage& row, const TempDirectory& directory, const FoundStore& found) {
  CHECK(found.store == nullptr);
  CAPTURE(found.damage);
  CHECK(!found.damage.empty());
  CHECK(found.damage.find(row.says) != std::string::npos);
  CHECK(found.damage.find("nothing was changed") == std::string::npos);
  CHECK(found.damage.find("from a backup") == std::string::npos);
  CHECK(found.set_aside == directory.store() + ".damaged-20261121T130511Z");
  CHECK(set_aside_beside(directory) == std::vector{found.set_aside});
  CHECK(!fs::exists(directory.store()));
}

TEST_CASE("every damage ends as documented") {
  CHECK(damages().size() >= 23);
  for (const auto& row : damages()) {
    CAPTURE(row.name);
    const TempDirectory directory;
    fill_store(directory.store());
    row.damage(directory.store());
    auto found = find_rocksdb_store(directory.store(), kNow);
    if (row.end == End::Refused) {
      REQUIRE(!found);
      CAPTURE(found.error().message);
      CHECK(found.error().code != ErrorCode::Internal);
      CHECK(found.error().message.find(row.says) != std::string::npos);
      CHECK(set_aside_beside(directory).empty());
      continue;
    }
    REQUIRE_MESSAGE(found.has_value(), found.error().message);
    switch (row.end) {
      case End::Opened:
        REQUIRE(found->store != nullptr);
        CHECK(found->store->revision() >= kObjects - 1);
        CHECK(set_aside_beside(directory).empty());
        break;
      case End::SetAside:
        check_set_aside(row, directory, *found);
        break;
      default:
        CHECK(found->store == nullptr);
        CHECK(found->damage.empty());
        CHECK(found->set_aside.empty());
        CHECK(set_aside_beside(directory).empty());
    }
  }
}

TEST_CASE("what is set aside is whole: every file with every byte") {
  const TempDirectory directory;
  fill_store(directory.store());
  fs::remove(fs::path(directory.store()) / "CURRENT");
  const auto before = files_below(directory.store());
  const auto found = must(find_rocksdb_store(directory.store(), kNow));
  CHECK(before.size() > 3);
  CHECK(files_below(found.set_aside) == before);
}

TEST_CASE("two damaged databases of one second are kept both") {
  const TempDirectory directory;
  for (int i = 0; i < 2; ++i) {
    fill_store(directory.store());
    fs::remove(fs::path(directory.store()) / "CURRENT");
    must(find_rocksdb_store(directory.store(), kNow));
  }
  CHECK(set_aside_beside(directory).size() == 2);
  CHECK(fs::exists(directory.store() + ".damaged-20261121T130511Z-2"));
}

TEST_CASE("a store that somebody has open is not set aside, whatever is wrong with it") {
  const TempDirectory directory;
  const auto store = must_open(directory.store());
  must(store->create(make_vm("a")));
  fs::remove(fs::path(directory.store()) / "CURRENT");
  const auto found = find_rocksdb_store(directory.store(), kNow);
  REQUIRE(!found);
  CHECK(found.error().code == ErrorCode::Busy);
  CHECK(set_aside_beside(directory).empty());
}

TEST_CASE("a store that may not be read is refused and left where it is") {
  const TempDirectory directory;
  fill_store(directory.store());
  Child child("child: finds a store it may not read", {{"BANGER_TEST_STORE", directory.store()}});
  const auto said = child.read_all();
  CHECK(child.wait() == 0);
  CHECK(said.starts_with("Denied "));
  CHECK(said.find(directory.store()) != std::string::npos);
  CHECK(set_aside_beside(directory).empty());
}

TEST_CASE("child: finds a store it may not read" * doctest::skip()) {
  const auto directory = from_parent("BANGER_TEST_STORE");
  if (directory.empty()) return;
  if (::geteuid() == 0) {
    ::chmod(fs::path(directory).parent_path().c_str(), 0755);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) return;
  } else {
    ::chmod(directory.c_str(), 0);
  }
  const auto found = find_rocksdb_store(directory, kNow);
  tell_parent(found ? "opened" : std::string(to_string(found.error().code)) + " " + found.error().message);
  if (::geteuid() != 65534) ::chmod(directory.c_str(), 0700);
}

TEST_CASE("a new store goes on from the revision it is given, and takes its place at once") {
  const TempDirectory directory;
  const auto beside = directory.store() + ".new";
  overwrite(directory.path() / "other", "");
  must(make_rocksdb_store(beside, 7));  // left by a crash
  must(discard_rocksdb_store(beside));
  auto made = must(make_rocksdb_store(beside, 1'000'000'041));
  CHECK(made->revision() == 1'000'000'041);
  CHECK(must(made->create(make_vm("a"))).meta.resource_version == 1'000'000'042);
  CHECK(made->watch({.after = 41}).error().code == ErrorCode::Gone);
  const auto store = must(settle_rocksdb_store(std::move(made), beside, directory.store()));
  CHECK(!fs::exists(beside));
  CHECK(store->revision() == 1'000'000'042);
  CHECK(store->compacted() == 1'000'000'041);
  CHECK(must(must(store->watch({.after = 1'000'000'041}))->next(10, std::chrono::milliseconds{0})).size() == 1);
  CHECK(store->watch({.after = 0}).error().code == ErrorCode::Gone);
  must(store->create(make_vm("b")));
}

}  // namespace
}  // namespace banger::store
