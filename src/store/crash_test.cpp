// SPDX-License-Identifier: Apache-2.0
// The store when the process is killed, when writes fail and when the disk is full. Each in a process of its own.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "base/files.hpp"
#include "base/testing.hpp"
#include "store/fixtures_test.hpp"

namespace banger::store {
namespace {

using namespace std::chrono_literals;

constexpr const char* kDirectory = "BANGER_TEST_STORE";
constexpr const char* kFailpoints = "BANGER_FAILPOINTS";

// Whatever the child found wrong, in its own words.
void require(bool holds, std::string_view what) {
  if (holds) return;
  tell_parent(std::string("failed: ") + std::string(what) + "\n");
  std::_Exit(1);
}

// Tries again until it is stored: the store opens itself again a second after a failed write.
Result<api::Object> create_at_last(Store& store, const api::Object& object, std::chrono::seconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto created = store.create(object);
    if (created || std::chrono::steady_clock::now() > deadline) return created;
    std::this_thread::sleep_for(20ms);
  }
}

TEST_CASE("child: writes until it is killed" * doctest::skip()) {
  const auto directory = from_parent(kDirectory);
  if (directory.empty()) return;
  const auto store = must_open(directory);
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      auto vm = must(store->create(make_vm("w" + std::to_string(::getpid()) + "-" + std::to_string(t))));
      for (std::uint64_t i = 1;; ++i) {
        spec_of(vm).memory = mib(i);
        vm = must(store->update(vm));
        // One write of a short line to a pipe is atomic.
        tell_parent(vm.meta.name + " " + std::to_string(vm.meta.resource_version) + " " + std::to_string(i) + "\n");
      }
    });
  }
}

TEST_CASE("twelve kills in the middle of writing lose nothing that was acknowledged") {
  const TempDirectory directory;
  std::map<std::string, std::pair<Revision, std::uint64_t>> acknowledged;
  Revision highest = 0;
  std::minstd_rand random(1);  // NOLINT: when the kill comes is not what decides the outcome
  for (int round = 0; round < 12; ++round) {
    std::string heard;
    {
      Child child("child: writes until it is killed", {{kDirectory, directory.store()}});
      const auto wanted = heard.size() + 200 + random() % 6000;  // bytes of acknowledgements before the kill
      while (heard.size() < wanted) {
        const auto some = child.read_some();
        REQUIRE_MESSAGE(!some.empty(), "the child ended by itself");
        heard += some;
      }
      child.kill();
      heard += child.read_all();
      CHECK(child.wait() == 128 + SIGKILL);
    }
    heard.resize(heard.rfind('\n') + 1);
    std::istringstream lines(heard);
    std::string name;
    Revision revision = 0;
    std::uint64_t count = 0;
    while (lines >> name >> revision >> count) {
      acknowledged[name] = {revision, count};
      highest = std::max(highest, revision);
    }
    const auto store = must_open(directory.store());
    CHECK(store->revision() >= highest);
    for (const auto& [vm, last] : acknowledged) {
      const auto found = must(store->get(vm_key(vm)));
      CHECK(found.meta.resource_version >= last.first);
      CHECK(spec_of(found).memory >= mib(last.second));
    }
    highest = store->revision();
  }
  CHECK(acknowledged.size() >= 12);
}

// One create in a process with these failpoints; a kill is expected.
void create_and_die(const TempDirectory& directory, const std::string& failpoints) {
  Child child("child: creates one object", {{kDirectory, directory.store()}, {kFailpoints, failpoints}});
  CHECK(child.read_all().empty());
  CHECK(child.wait() == 128 + SIGKILL);
}

TEST_CASE("child: creates one object" * doctest::skip()) {
  const auto directory = from_parent(kDirectory);
  if (directory.empty()) return;
  const auto store = must_open(directory);
  must(store->create(make_vm("killed")));
  tell_parent("acknowledged");
}

#ifdef BANGER_FAILPOINTS

TEST_CASE("killed before the write: it is not there; killed after the sync: it is") {
  const TempDirectory directory;
  must(must_open(directory.store())->create(make_vm("first")));
  create_and_die(directory, "store.write.before=kill");
  CHECK(must_open(directory.store())->revision() == 1);
  create_and_die(directory, "store.write.after=kill");
  CHECK(must(must_open(directory.store())->get(vm_key("killed"))).meta.resource_version == 2);
}

// Runs a child case with failpoints; it reports what does not hold.
void run_with(const std::string& test_case, const std::string& failpoints) {
  const TempDirectory directory;
  must(must_open(directory.store())->create(make_vm("first")));
  Child child(test_case, {{kDirectory, directory.store()}, {kFailpoints, failpoints}});
  CHECK(child.read_all().empty());
  CHECK(child.wait() == 0);
}

TEST_CASE("a write that failed before the disk poisons the store, which heals by itself") {
  run_with("child: a failed write that left nothing",
           "store.write.before=1*error(ENOSPC)->off;store.open=1*off->1*error(EIO)->off");
}

TEST_CASE("child: a failed write that left nothing" * doctest::skip()) {
  const auto directory = from_parent(kDirectory);
  if (directory.empty()) return;
  const auto store = must_open(directory);
  const auto failed = store->create(make_vm("a"));
  require(!failed && failed.error().code == ErrorCode::Unavailable, "the write answers Unavailable");
  require(failed.error().message.find("is full") != std::string::npos, failed.error().message);
  require(store->poisoned(), "poisoned");
  require(store->create(make_vm("b")).error().code == ErrorCode::Unavailable, "later writes are refused at once");
  require(store->remove(vm_key("first"), {}).error().code == ErrorCode::Unavailable, "removals too");
  require(store->compact(1).error().code == ErrorCode::Unavailable, "compaction too");
  require(store->get(vm_key("first")).has_value() && store->revision() == 1, "reads go on");
  auto watch = must(store->watch({.after = 0}));
  require(must(watch->next(10, 0ms)).size() == 1, "the changelog can be read");
  // The first attempt to open again fails (store.open), the one a second later works.
  const auto healed = create_at_last(*store, make_vm("c"), 10s);
  require(healed && healed->meta.resource_version == 2, "heals, and the failed write took no revision");
  require(!store->poisoned(), "healed");
  require(store->get(vm_key("a")).error().code == ErrorCode::NotFound, "the failed write is not there");
  require(must(watch->next(10, 0ms)).size() == 1, "the watch goes on");
}

TEST_CASE("a write whose answer was lost becomes visible when the store heals, to watchers as well") {
  run_with("child: a failed write that was durable", "store.write.after=1*error(EIO)->off");
}

TEST_CASE("child: a failed write that was durable" * doctest::skip()) {
  const auto directory = from_parent(kDirectory);
  if (directory.empty()) return;
  const auto store = must_open(directory);
  auto watch = must(store->watch({.after = 1}));
  require(store->create(make_vm("a")).error().code == ErrorCode::Unavailable, "the write answers Unavailable");
  require(store->get(vm_key("a")).error().code == ErrorCode::NotFound, "it is not visible before it is known");
  require(must(watch->next(10, 0ms)).empty(), "nor told");
  const auto healed = create_at_last(*store, make_vm("b"), 10s);
  require(healed && healed->meta.resource_version == 3, "heals behind it");
  require(must(store->get(vm_key("a"))).meta.resource_version == 2, "it is there");
  const auto changes = must(watch->next(10, 0ms));
  require(changes.size() == 2 && changes[0].object.meta.name == "a" && changes[1].object.meta.name == "b", "both are told");
}

#endif

// The child lives in a mount namespace of its own, on 12 MiB of tmpfs.
void run_on_full_disk(const std::string& what_is_full) {
  const TempDirectory directory;
  Child child("child: lives on a full disk", {{kDirectory, directory.path()}, {"BANGER_TEST_FULL", what_is_full}});
  const auto said = child.read_all();
  const int code = child.wait();
  if (said.starts_with("skip")) {
    MESSAGE("skipped: " << said);
    return;
  }
  CHECK(said.empty());
  CHECK(code == 0);
}

TEST_CASE("a disk that fills up aborts nothing, refuses writes, keeps reading, and heals when there is space") {
  run_on_full_disk("slowly");
}

TEST_CASE("the same where not even one more byte of the log can be written") { run_on_full_disk("to the last byte"); }

void check_acknowledged(Store& store, const std::map<std::string, Revision>& acknowledged) {
  for (const auto& [name, revision] : acknowledged) {
    const auto found = store.get(vm_key(name));
    require(found && found->meta.resource_version == revision, "acknowledged " + name + " is there");
  }
}

// Big enough to fill a few MiB soon.
api::Object make_big_vm(int number) {
  auto vm = make_vm("big-" + std::to_string(number));
  vm.meta.annotations["ballast"] = std::string(30000, static_cast<char>('a' + number % 26));
  return vm;
}

void fill(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  const std::string block(4096, 'x');
  while (::write(file.get(), block.data(), block.size()) > 0) {
  }
  require(errno == ENOSPC, "the disk is full");
}

TEST_CASE("child: lives on a full disk" * doctest::skip()) {
  const auto base = from_parent(kDirectory);
  if (base.empty()) return;
  if (!banger::testing::enter_private_mounts() || ::mount("none", base.c_str(), "tmpfs", 0, "size=12m") != 0) {
    tell_parent(std::string("skip: mounting a tmpfs in a private namespace is not permitted: ") + std::strerror(errno));
    return;
  }
  const auto ballast = base + "/ballast";
  std::ofstream(ballast) << std::string(8U << 20U, 'x');
  auto store = must_open(base + "/store");
  std::map<std::string, Revision> acknowledged;
  Result<api::Object> last = fail(internal(""));
  const bool to_the_last_byte = from_parent("BANGER_TEST_FULL") == "to the last byte";
  for (int i = 0; i < 1000; ++i) {
    if (to_the_last_byte && i == 3) fill(ballast);
    last = store->create(make_big_vm(i));
    if (!last) break;
    acknowledged[last->meta.name] = last->meta.resource_version;
  }
  require(!last && last.error().code == ErrorCode::Unavailable, "a write on a full disk answers Unavailable");
  require(last.error().message.find("is full") != std::string::npos, last.error().message);
  require(!acknowledged.empty() && store->poisoned(), "poisoned");
  check_acknowledged(*store, acknowledged);
  // Over a second, so that opening again is tried, and fails, on the full disk.
  const auto still_full = create_at_last(*store, make_big_vm(1001), 2s);
  require(!still_full || acknowledged.emplace("big-1001", still_full->meta.resource_version).second, "no abort");
  check_acknowledged(*store, acknowledged);

  std::filesystem::remove(ballast);
  const auto healed = create_at_last(*store, make_big_vm(1002), 10s);
  require(healed.has_value(), healed ? "" : healed.error().message);
  require(!store->poisoned() && healed->meta.resource_version > acknowledged.size(), "healed, revisions go on");
  acknowledged[healed->meta.name] = healed->meta.resource_version;
  check_acknowledged(*store, acknowledged);
  store.reset();
  store = must_open(base + "/store");
  check_acknowledged(*store, acknowledged);
}

}  // namespace
}  // namespace banger::store
