// SPDX-License-Identifier: Apache-2.0
// What only the store on disk has to do: come back whole, refuse what is damaged or not its own.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "base/files.hpp"
#include "base/testing.hpp"
#include "store/database.hpp"
#include "store/fixtures_test.hpp"
#include "store/naming.hpp"
#include "store/record.hpp"

namespace banger::store {
namespace {

using namespace std::chrono_literals;

std::vector<std::filesystem::path> logs_of(const std::string& directory) {
  std::vector<std::filesystem::path> logs;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".log") logs.push_back(entry.path());
  }
  std::ranges::sort(logs);
  return logs;
}

// Opens, expects a refusal as damaged that names what, twice: the first must not have repaired or worsened anything.
void check_damaged(const std::string& directory, std::string_view what) {
  for (int round = 0; round < 2; ++round) {
    const auto refused = open_rocksdb_store(directory);
    REQUIRE(!refused);
    CAPTURE(refused.error().message);
    CHECK(refused.error().code == ErrorCode::Internal);
    CHECK(refused.error().message.find(directory) != std::string::npos);
    CHECK(refused.error().message.find("damaged, nothing was changed") != std::string::npos);
    CHECK(refused.error().message.find(what) != std::string::npos);
  }
}

// Writes below the store, as a flipped bit or a bug would.
void tamper(const std::string& directory, std::string key, std::optional<std::string> value) {
  const auto database = must(Database::open(directory));
  must(database->write({.operations = {{std::move(key), std::move(value)}}}));
}

std::string raw_value(const std::string& directory, const std::string& key) {
  std::string found;
  const auto database = must(Database::open(directory));
  must(database->scan(key, key + '\0', [&](std::string_view, std::string_view value) -> Result<bool> {
    found = value;
    return false;
  }));
  return found;
}

TEST_CASE("a reopened store has every object, the revision and the changelog") {
  const TempDirectory directory;
  Listing before;
  std::vector<Change> changes;
  {
    const auto store = must_open(directory.store());
    auto vm = must(store->create(make_vm("a")));
    must(store->create(make_vm("b", "other")));
    vm.meta.labels["x"] = "y";
    vm.meta.finalizers = {"banger.dev/vm"};
    auto& status = std::get<api::VirtualMachine>(vm.body).status;
    status.phase = "Running";
    status.restart_after = WallTime{1'800'000'000'123ms};
    status.last_termination = {.reason = "Killed", .signal = 9, .finished = WallTime{1'800'000'000'456ms}};
    must(store->update(vm));
    must(store->create(make_vm("gone")));
    must(store->remove(vm_key("gone"), {}));
    before = must(store->list({}));
    changes = must(must(store->watch({.after = 0}))->next(100, 0ms));
  }
  const auto store = must_open(directory.store());
  CHECK(store->revision() == 5);  // the last write was a deletion: no object has this revision
  CHECK(must(store->list({})) == before);
  CHECK(must(must(store->watch({.after = 0}))->next(100, 0ms)) == changes);
  CHECK(must(must(store->watch({.kind = api::Kind::Network, .after = 0}))->next(100, 0ms)).empty());
  CHECK(store->watch({.after = 6}).error().code == ErrorCode::Invalid);
  CHECK(must(store->create(make_vm("gone"))).meta.resource_version == 6);
}

TEST_CASE("revisions are not used again when everything was deleted and compacted") {
  const TempDirectory directory;
  {
    const auto store = must_open(directory.store());
    must(store->create(make_vm("a")));
    must(store->remove(vm_key("a"), {}));
    must(store->compact(2));
  }
  const auto store = must_open(directory.store());
  CHECK(store->revision() == 2);
  CHECK(store->compacted() == 2);
  CHECK(store->watch({.after = 1}).error().code == ErrorCode::Gone);
  CHECK(must(store->create(make_vm("a"))).meta.resource_version == 3);
}

TEST_CASE("a watch begun before the ring reads on from the changelog into the ring") {
  const TempDirectory directory;
  must(must_open(directory.store())->create(make_vm("a")));
  const auto store = must_open(directory.store());
  must(store->create(make_vm("b")));
  auto watch = must(store->watch({.after = 0}));
  CHECK(must(watch->next(10, 0ms)).size() == 1);
  CHECK(must(watch->next(10, 0ms)).size() == 1);
  CHECK(watch->delivered() == 2);
}

TEST_CASE("what every watcher has read leaves memory, and a watch from before that reads all of it") {
  const TempDirectory directory;
  const auto store = must_open(directory.store());
  auto first = must(store->watch({.after = 0}));
  auto slow = must(store->watch({.after = 0}));
  constexpr int kChanges = 700;
  CHECK(must(first->next(10, 0ms)).empty());
  CHECK(must(slow->next(10, 0ms)).empty());
  for (int i = 0; i < kChanges; ++i) {
    must(store->create(make_vm("vm" + std::to_string(i))));
    CHECK(must(first->next(10, 0ms)).size() == 1);
  }
  auto late = must(store->watch({.after = 0}));
  for (auto* watch : {&slow, &late}) {
    for (int i = 0; i < kChanges; ++i) {
      const auto change = must((*watch)->next(1, 0ms));
      REQUIRE(change.size() == 1);
      CHECK(change[0].object.meta.name == "vm" + std::to_string(i));
    }
    CHECK(must((*watch)->next(1, 0ms)).empty());
  }
  late = must(store->watch({.after = 0}));
  CHECK(must(late->next(kChanges, 0ms)).size() > 0);
}

TEST_CASE("no LOG file is written: on a full disk it would abort the process") {
  const TempDirectory directory;
  const auto store = must_open(directory.store());
  must(store->create(make_vm("a")));
  CHECK(!std::filesystem::exists(directory.path() / "store" / "LOG"));
}

TEST_CASE("a second opener is told that the store is open") {
  const TempDirectory directory;
  const auto store = must_open(directory.store());
  const auto second = open_rocksdb_store(directory.store());
  REQUIRE(!second);
  CHECK(second.error() ==
        Error{ErrorCode::Busy, "another process has the store in " + directory.store() + " open; only one may"});
  Child other("child: opens the store", {{"BANGER_TEST_STORE", directory.store()}});
  CHECK(other.read_all().starts_with("Busy another process has the store in " + directory.store()));
  CHECK(other.wait() == 0);
  must(store->create(make_vm("a")));  // undisturbed
}

TEST_CASE("child: opens the store" * doctest::skip()) {
  const auto directory = from_parent("BANGER_TEST_STORE");
  if (directory.empty()) return;
  const auto opened = open_rocksdb_store(directory);
  tell_parent(opened ? "opened" : std::string(to_string(opened.error().code)) + " " + opened.error().message);
}

TEST_CASE("a file in the way is named") {
  const TempDirectory directory;
  std::ofstream(directory.store()) << "not a directory";
  auto refused = open_rocksdb_store(directory.store());
  REQUIRE(!refused);
  CHECK(refused.error() == Error{ErrorCode::Invalid, "the directory of the store: " + directory.store() + " is not a directory"});
  refused = open_rocksdb_store(directory.store() + "/below");
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::Invalid);
  CHECK(refused.error().message.find(directory.store()) != std::string::npos);
}

TEST_CASE("an unwritable directory is Denied, with its name") {
  const TempDirectory directory;
  must_open(directory.store());
  Child child("child: opens a store it may not write", {{"BANGER_TEST_STORE", directory.store()}});
  const auto said = child.read_all();
  CHECK(child.wait() == 0);
  if (said.starts_with("skip")) {
    MESSAGE("skipped: " << said);
    return;
  }
  CHECK(said.starts_with("Denied the directory " + directory.store() + " of the store must be readable and writable: "));
}

TEST_CASE("child: opens a store it may not write" * doctest::skip()) {
  const auto directory = from_parent("BANGER_TEST_STORE");
  if (directory.empty()) return;
  if (::geteuid() != 0) {
    ::chmod(directory.c_str(), 0500);
  } else if (!banger::testing::enter_private_mounts() || ::mount("none", directory.c_str(), "tmpfs", MS_RDONLY, "size=1m") != 0) {
    tell_parent("skip: root may write everywhere and a read-only mount is not permitted here");
    return;
  }
  const auto opened = open_rocksdb_store(directory);
  tell_parent(opened ? "opened" : std::string(to_string(opened.error().code)) + " " + opened.error().message);
  if (::geteuid() != 0) ::chmod(directory.c_str(), 0700);
}

TEST_CASE("a newer format is refused and left alone") {
  const TempDirectory directory;
  must(must_open(directory.store())->create(make_vm("a")));
  const std::string key(record::kFormatKey);
  tamper(directory.store(), key, record::seal(key, record::number(2)));
  const auto refused = open_rocksdb_store(directory.store());
  REQUIRE(!refused);
  CHECK(refused.error() ==
        Error{ErrorCode::Invalid, "the store in " + directory.store() +
                                      " cannot be used: it has format 2, this version reads 1: run the version "
                                      "that wrote it"});
  CHECK(must(record::unseal(key, raw_value(directory.store(), key))) == record::number(2));
}

TEST_CASE("every damaged, missing or surplus value is found at open, by name") {
  const TempDirectory directory;
  const auto vm = make_vm("web");
  {
    const auto store = must_open(directory.store());
    must(store->create(make_vm("other")));
    must(store->create(vm));
  }
  const auto object = record::object_key(vm_key("web"));
  const auto uid = record::uid_key(vm.meta.uid);
  const auto flipped = [&](const std::string& key) {
    auto value = raw_value(directory.store(), key);
    value[value.size() / 2] = static_cast<char>(value[value.size() / 2] ^ 0x10);
    return value;
  };
  const auto other = raw_value(directory.store(), record::object_key(vm_key("other")));
  struct Case {
    std::string key;
    std::optional<std::string> value;
    std::string what;
  };
  const std::vector<Case> cases{
      {object, flipped(object), "o/VirtualMachine/default/web"},
      {object, other, "o/VirtualMachine/default/web"},
      {object, "", "o/VirtualMachine/default/web"},
      {object, std::nullopt, vm.meta.uid},
      {record::change_key(1), flipped(record::change_key(1)), "c/1"},
      {record::change_key(1), std::nullopt, "revision 2 where 1 was expected"},
      {record::change_key(2), std::nullopt, "the changelog ends at revision 1, the store is at 2"},
      {uid, flipped(uid), uid},
      {uid, std::nullopt, uid},
      {record::short_id_key(*short_id(vm.meta.uid)), std::nullopt, "s/"},
      {"m/rev", flipped("m/rev"), "m/rev"},
      {"m/rev", record::seal("m/rev", record::number(1)), "has revision 2, the store 1"},
      {"m/rev", std::nullopt, "m/rev is missing"},
      {"m/format", std::nullopt, "m/format is missing"},
  };
  CHECK(cases.size() >= 14);
  for (const auto& [key, value, what] : cases) {
    CAPTURE(record::describe_key(key));
    const auto good = raw_value(directory.store(), key);
    tamper(directory.store(), key, value);
    check_damaged(directory.store(), what);
    tamper(directory.store(), key, good);
  }
  CHECK(must_open(directory.store())->revision() == 2);
}

// Fills a store whose values are all still in the write-ahead log, and closes it.
std::filesystem::path fill_log(const std::string& directory) {
  {
    const auto store = must_open(directory);
    for (int i = 0; i < 50; ++i) must(store->create(make_vm("vm-" + std::to_string(i))));
  }
  const auto logs = logs_of(directory);
  REQUIRE(logs.size() == 1);
  return logs.front();
}

TEST_CASE("a torn end of the log is dropped, all before it stays") {
  const TempDirectory directory;
  const auto log = fill_log(directory.store());
  std::filesystem::resize_file(log, std::filesystem::file_size(log) - 7);
  const auto store = must_open(directory.store());
  CHECK(store->revision() == 49);
  CHECK(must(store->list({.kind = api::Kind::VirtualMachine})).objects.size() == 49);
}

TEST_CASE("four damaged bytes in the middle of the log refuse to open") {
  const TempDirectory directory;
  const auto log = fill_log(directory.store());
  std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(log) / 2));
  file.write("\xde\xad\xbe\xef", 4);
  file.close();
  check_damaged(directory.store(), "orruption");
}

TEST_CASE("a store whose log or CURRENT file is gone is not opened as an older or an empty one") {
  const TempDirectory directory;
  const auto log = fill_log(directory.store());
  std::filesystem::rename(log, directory.path() / "kept");
  check_damaged(directory.store(), "the write-ahead log (*.log) is missing");
  std::filesystem::rename(directory.path() / "kept", log);
  const auto current = std::filesystem::path(directory.store()) / "CURRENT";
  std::filesystem::rename(current, directory.path() / "kept");
  check_damaged(directory.store(), "the file CURRENT is missing");
  std::filesystem::rename(directory.path() / "kept", current);
  CHECK(must_open(directory.store())->revision() == 50);
}

}  // namespace
}  // namespace banger::store
