// SPDX-License-Identifier: Apache-2.0
#include "intake/manifest_directory.hpp"

#include <algorithm>

#include "intake/bench_test.hpp"
#include "intake/pass.hpp"

namespace banger::intake {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

TEST_CASE("what files declare is created, and a row a file says so") {
  Bench bench;
  bench.put("web.yaml", vm_yaml("web", "  cpus: 2\n") + vm_yaml("db"));
  fs::create_directory(bench.root / "more");
  bench.put("more/net.yml", "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: lan}\nspec: {}\n");
  bench.scan();
  CHECK(bench.spec("web").cpus == 2);
  CHECK(bench.find("db"));
  CHECK(bench.store->get({.kind = api::Kind::Network, .ns = "", .name = "lan"}));
  REQUIRE(bench.status().files.size() == 2);
  CHECK(bench.status().files[0] ==
        api::SourceFileStatus{.file = "more/net.yml", .state = "Applied", .objects = 1, .message = ""});
  CHECK(bench.status().files[1] == api::SourceFileStatus{.file = "web.yaml", .state = "Applied", .objects = 2, .message = ""});
  CHECK(bench.condition("Ready").status == api::ConditionStatus::True);
  CHECK_FALSE(bench.suspended());
  CHECK(bench.events.with_reason("Created").size() == 3);
}

TEST_CASE("a JSON manifest is taken like a YAML one") {
  Bench bench;
  bench.put("web.json",
            R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"name":"web"},"spec":{"image":"demo"}})");
  bench.scan();
  CHECK(bench.row("web.json").state == "Applied");
  CHECK(bench.find("web"));
}

TEST_CASE("a scan that finds nothing new writes nothing") {
  Bench bench;
  bench.put("web.yaml", vm_yaml("web"));
  bench.put("bad.yaml", "nonsense");
  bench.pass();
  const auto before = bench.store->revision();
  bench.pass();
  bench.restart();
  bench.pass();
  CHECK(bench.store->revision() == before);
  CHECK(bench.events.with_reason("ManifestInvalid").size() == 1);
}

TEST_CASE("a stop through the API stays until the file changes") {
  Bench bench;
  bench.put("web.yaml", vm_yaml("web", "  powerState: Running\n"));
  bench.scan();
  REQUIRE(bench.objects.edit(vm_key("web"), [](api::Object& object) -> Result<void> {
    std::get<api::VirtualMachine>(object.body).spec.power_state = api::PowerState::Stopped;
    return {};
  }));
  bench.pass();
  bench.restart();
  bench.pass();
  CHECK(bench.spec("web").power_state == api::PowerState::Stopped);
  bench.put("web.yaml", vm_yaml("web", "  # a comment is no change\n  powerState: Running\n"));
  bench.pass();
  CHECK(bench.spec("web").power_state == api::PowerState::Stopped);
  bench.put("web.yaml", vm_yaml("web", "  powerState: Running\n  cpus: 2\n"));
  bench.pass();
  CHECK(bench.spec("web").power_state == api::PowerState::Running);
  CHECK(bench.spec("web").cpus == 2);
}

TEST_CASE("a file that is wrong keeps its objects' last good state and does not touch other files") {
  Bench bench;
  bench.put("web.yaml", vm_yaml("web", "  cpus: 2\n"));
  bench.put("db.yaml", vm_yaml("db"));
  bench.scan();
  bench.put("web.yaml", vm_yaml("web", "  cpus: 99\n"));
  bench.put("db.yaml", vm_yaml("db", "  cpus: 3\n"));
  bench.pass();
  CHECK(bench.spec("web").cpus == 2);
  CHECK(bench.spec("db").cpus == 3);
  CHECK(bench.row("web.yaml").state == "Invalid");
  CHECK(bench.row("web.yaml").objects == 1);
  CHECK(bench.row("web.yaml").message.starts_with("web.yaml:7:9: spec.cpus: must be between 1 and 32"));
  CHECK(bench.row("db.yaml").state == "Applied");
  CHECK(bench.condition("Ready").status == api::ConditionStatus::False);
  const auto events = bench.events.with_reason("ManifestInvalid");
  REQUIRE(events.size() == 1);
  CHECK(events[0].type == api::EventType::Warning);
  CHECK(events[0].message == bench.row("web.yaml").message);
  bench.put("web.yaml", vm_yaml("web", "  cpus: 4\n"));
  bench.scan();
  CHECK(bench.spec("web").cpus == 4);
  CHECK(bench.condition("Ready").status == api::ConditionStatus::True);
}

TEST_CASE("a file counts whole or not at all") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("two", "  nonsense: 1\n"));
  bench.scan();
  CHECK(bench.vms() == 0);
  CHECK(bench.row("a.yaml").state == "Invalid");
  CHECK(bench.row("a.yaml").objects == 0);
}

TEST_CASE("a file that cannot be parsed removes nothing, however long") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("two"));
  bench.scan();
  bench.put("a.yaml", "{{{{");
  for (int i = 0; i < 5; ++i) bench.pass();
  bench.restart();
  for (int i = 0; i < 5; ++i) bench.pass();
  CHECK(bench.vms() == 2);
  CHECK_FALSE(bench.suspended());
}

TEST_CASE("an emptied file removes nothing and says how to") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.put("empty.yaml", "# nothing yet\n");
  bench.scan();
  CHECK(bench.row("empty.yaml").state == "Applied");
  bench.put("a.yaml", "");
  bench.pass();
  CHECK(bench.find("one"));
  CHECK(bench.row("a.yaml").message == "a.yaml: holds no object any more; to remove its objects, delete the file");
  bench.erase("a.yaml");
  bench.pass();
  CHECK_FALSE(bench.find("one"));
}

TEST_CASE("one object twice in a file is refused with both places") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("one"));
  bench.scan();
  CHECK(bench.vms() == 0);
  CHECK(bench.row("a.yaml").state == "Invalid");
  CHECK(bench.row("a.yaml").message.find("VirtualMachine default/one is declared a second time, first in line") !=
        std::string::npos);
}

TEST_CASE("a removed file takes its objects with it, a removed document its object") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("two"));
  bench.put("b.yaml", vm_yaml("three"));
  bench.scan();
  bench.put("a.yaml", vm_yaml("one"));
  bench.pass();
  CHECK(bench.find("one"));
  CHECK_FALSE(bench.find("two"));
  bench.erase("b.yaml");
  bench.pass();
  CHECK_FALSE(bench.find("three"));
  CHECK(bench.find("one"));
  CHECK(bench.events.with_reason("Removed").size() == 2);
  CHECK(bench.row("b.yaml").state == "(no row)");
}

TEST_CASE("files removed one after another are no mass removal, many at once wait for a confirmation") {
  Bench bench;
  for (int i = 0; i < 8; ++i) bench.put("f" + std::to_string(i) + ".yaml", vm_yaml("vm" + std::to_string(i)));
  bench.scan();
  for (int i = 0; i < 3; ++i) {
    bench.erase("f" + std::to_string(i) + ".yaml");
    bench.pass();
  }
  CHECK(bench.vms() == 5);
  CHECK_FALSE(bench.suspended());
  for (int i = 3; i < 6; ++i) bench.erase("f" + std::to_string(i) + ".yaml");
  bench.pass();
  CHECK(bench.vms() == 5);
  CHECK(bench.suspended());
  CHECK(bench.condition("PruneSuspended").reason == "TooMany");
  CHECK(bench.status().waiting_removals ==
        std::vector<std::string>{"VirtualMachine default/vm3", "VirtualMachine default/vm4", "VirtualMachine default/vm5"});
  CHECK(bench.events.with_reason("PruneSuspended").size() == 1);

  // They hold nobody up.
  bench.erase("f6.yaml");
  bench.pass();
  CHECK(bench.vms() == 4);
  bench.put("new.yaml", vm_yaml("new"));
  bench.pass();
  CHECK(bench.find("new"));

  // And they wait through a restart.
  const auto token = bench.status().prune_token;
  bench.restart();
  bench.pass();
  CHECK(bench.vms() == 5);
  CHECK(bench.status().prune_token == token);
  CHECK(bench.events.with_reason("PruneSuspended").size() == 1);
  bench.confirm();
  bench.scan();
  CHECK(bench.vms() == 2);
  CHECK_FALSE(bench.suspended());
  CHECK(bench.status().waiting_removals.empty());
  CHECK(bench.status().prune_token.empty());
}

TEST_CASE("files that come back wait no more, and an old confirmation is worth nothing then") {
  Bench bench;
  for (int i = 0; i < 4; ++i) bench.put("f" + std::to_string(i) + ".yaml", vm_yaml("vm" + std::to_string(i)));
  bench.scan();
  for (int i = 0; i < 4; ++i) bench.erase("f" + std::to_string(i) + ".yaml");
  bench.pass();
  CHECK(bench.suspended());
  bench.confirm();
  for (int i = 0; i < 4; ++i) bench.put("f" + std::to_string(i) + ".yaml", vm_yaml("vm" + std::to_string(i)));
  bench.pass();
  CHECK_FALSE(bench.suspended());
  for (int i = 0; i < 4; ++i) bench.erase("f" + std::to_string(i) + ".yaml");
  bench.pass();
  CHECK(bench.vms() == 4);
  CHECK(bench.suspended());
}

TEST_CASE("removals in quick succession count as one") {
  Bench bench;
  for (int i = 0; i < 6; ++i) bench.put("f" + std::to_string(i) + ".yaml", vm_yaml("vm" + std::to_string(i)));
  bench.scan();
  for (int i = 0; i < 6; ++i) {  // a slow rm -r
    bench.erase("f" + std::to_string(i) + ".yaml");
    bench.scan();
    bench.clock.advance(milliseconds{300});
  }
  bench.pass();
  CHECK(bench.vms() == 6);
  CHECK(bench.suspended());
}

TEST_CASE("a file that is removed and made again within half a second lost nothing") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  const auto uid = bench.vm("one").meta.uid;
  bench.erase("a.yaml");
  bench.scan();
  CHECK(bench.intake->look_again() == milliseconds{500});
  bench.clock.advance(milliseconds{400});
  bench.put("a.yaml", vm_yaml("one", "  cpus: 2\n"));
  bench.scan();
  bench.clock.advance(milliseconds{400});
  bench.pass();
  CHECK(bench.vm("one").meta.uid == uid);
  CHECK(bench.spec("one").cpus == 2);
}

TEST_CASE("a vanished, replaced, emptied or unreadable directory removes nothing without a confirmation") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("two"));
  bench.scan();
  const auto moved = bench.scratch.path() / "moved";

  SUBCASE("vanished") {
    fs::rename(bench.root, moved);
    bench.pass();
    CHECK(bench.condition("PruneSuspended").reason == "DirectoryMissing");
    CHECK(bench.condition("Ready").reason == "DirectoryUnavailable");
    CHECK(bench.row("a.yaml").state == "Applied");  // what was last known
  }
  SUBCASE("vanished while the daemon was down") {
    fs::rename(bench.root, moved);
    bench.restart();
    bench.pass();
    CHECK(bench.condition("PruneSuspended").reason == "DirectoryMissing");
  }
  SUBCASE("replaced by an empty one, as by an unmounted file system") {
    fs::rename(bench.root, moved);
    fs::create_directory(bench.root);
    bench.restart();
    bench.pass();
    CHECK(bench.condition("PruneSuspended").reason == "DirectoryReplaced");
  }
  SUBCASE("replaced by one with other files, which are applied") {
    fs::rename(bench.root, moved);
    fs::create_directory(bench.root);
    bench.put("other.yaml", vm_yaml("three"));
    bench.pass();
    CHECK(bench.condition("PruneSuspended").reason == "DirectoryReplaced");
    CHECK(bench.find("three"));
  }
  SUBCASE("a file in its place") {
    fs::rename(bench.root, moved);
    write_text(bench.root, "not a directory");
    bench.pass();
    CHECK(bench.condition("PruneSuspended").reason == "DirectoryMissing");
  }
  CHECK(bench.suspended());
  CHECK(bench.find("one"));
  CHECK(bench.find("two"));
  CHECK(bench.status().waiting_removals.size() == 2);

  bench.confirm();
  bench.scan();
  CHECK_FALSE(bench.find("one"));
  CHECK_FALSE(bench.find("two"));
  CHECK_FALSE(bench.suspended());
}

TEST_CASE("a directory that comes back as another inode with everything in it is taken for the old one") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.put("c.yaml", vm_yaml("three"));
  bench.scan();
  const auto uid = bench.vm("one").meta.uid;
  const auto moved = bench.scratch.path() / "moved";
  fs::rename(bench.root, moved);
  bench.pass();
  CHECK(bench.suspended());
  fs::copy(moved, bench.root, fs::copy_options::recursive);
  bench.pass();
  CHECK_FALSE(bench.suspended());
  CHECK(bench.vm("one").meta.uid == uid);
  bench.erase("a.yaml");  // and deleting works again
  bench.pass();
  CHECK_FALSE(bench.find("one"));
}

TEST_CASE("a source object that was lost does not make a strange directory trusted") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  REQUIRE(bench.objects.remove(api::key_of(bench.source()), {}));
  bench.erase("a.yaml");
  bench.restart();
  bench.pass();
  CHECK(bench.find("one"));
  CHECK(bench.suspended());
}

TEST_CASE("a renamed file re-owns its objects and changes nothing else") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one", "  powerState: Running\n"));
  bench.scan();
  REQUIRE(bench.objects.edit(vm_key("one"), [](api::Object& object) -> Result<void> {
    std::get<api::VirtualMachine>(object.body).spec.power_state = api::PowerState::Stopped;
    return {};
  }));
  const auto before = bench.vm("one");
  fs::create_directory(bench.root / "sub");
  fs::rename(bench.root / "a.yaml", bench.root / "sub" / "b.yaml");
  bench.pass();
  const auto after = bench.vm("one");
  CHECK(bench.owner("one") == "sub/b.yaml");
  CHECK(after.meta.uid == before.meta.uid);
  CHECK(after.meta.generation == before.meta.generation);
  CHECK(after.body == before.body);
  CHECK(bench.events.with_reason("Removed").empty());
}

TEST_CASE("a file that is renamed and broken in one go keeps its objects") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  bench.put("a.yaml", "{{{{");
  fs::rename(bench.root / "a.yaml", bench.root / "b.yaml");
  for (int i = 0; i < 20; ++i) bench.pass();
  CHECK(bench.row("b.yaml").state == "Invalid");
  CHECK(bench.find("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  CHECK(bench.find("two"));
  CHECK_FALSE(bench.find("one"));
}

TEST_CASE("two files that name one object: the first keeps it, the second is told, and follows when the first goes") {
  Bench bench;
  bench.put("b.yaml", vm_yaml("one", "  cpus: 2\n"));
  bench.scan();
  const auto uid = bench.vm("one").meta.uid;
  bench.put("a.yaml", vm_yaml("one", "  cpus: 3\n") + vm_yaml("other"));
  bench.pass();
  CHECK(bench.spec("one").cpus == 2);
  CHECK(bench.owner("one") == "b.yaml");
  CHECK(bench.row("b.yaml").state == "Applied");
  CHECK(bench.row("a.yaml").state == "Conflict");
  CHECK(bench.row("a.yaml").message.find("VirtualMachine default/one is already declared by b.yaml") != std::string::npos);
  CHECK_FALSE(bench.find("other"));  // the whole file waits
  CHECK(bench.events.with_reason("ManifestConflict").size() == 1);

  SUBCASE("the first one goes") { bench.erase("b.yaml"); }
  SUBCASE("the first one declares something else") { bench.put("b.yaml", vm_yaml("third")); }
  bench.pass();
  CHECK(bench.spec("one").cpus == 3);
  CHECK(bench.owner("one") == "a.yaml");
  CHECK(bench.vm("one").meta.uid == uid);
  CHECK(bench.find("other"));
  CHECK(bench.row("a.yaml").state == "Applied");
  CHECK(bench.events.with_reason("Removed").empty());
}

TEST_CASE("a first file that broke still keeps what it had from the second") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one", "  cpus: 2\n"));
  bench.scan();
  bench.put("a.yaml", "{{{{");
  bench.put("b.yaml", vm_yaml("one", "  cpus: 3\n"));
  bench.pass();
  CHECK(bench.spec("one").cpus == 2);
  CHECK(bench.row("b.yaml").state == "Conflict");
  CHECK(bench.row("b.yaml").message.find("already comes from a.yaml, which cannot be understood now") != std::string::npos);
}

TEST_CASE("two new files that name one object: the first by name has it") {
  Bench bench;
  bench.put("b.yaml", vm_yaml("one", "  cpus: 2\n"));
  bench.put("a.yaml", vm_yaml("one", "  cpus: 3\n"));
  bench.pass();
  CHECK(bench.owner("one") == "a.yaml");
  CHECK(bench.row("b.yaml").state == "Conflict");
}

TEST_CASE("an object made through the API is taken over with an event; the field never named stays") {
  Bench bench;
  api::VirtualMachine by_hand;
  by_hand.spec.image = "demo";
  by_hand.spec.cpus = 4;
  by_hand.spec.kernel_args = {"quiet"};
  REQUIRE(bench.objects.create({.meta = {.name = "web", .ns = "default"}, .body = by_hand}));
  const auto uid = bench.vm("web").meta.uid;
  bench.put("web.yaml", vm_yaml("web", "  cpus: 2\n"));
  bench.pass();
  CHECK(bench.owner("web") == "web.yaml");
  CHECK(bench.vm("web").meta.uid == uid);
  CHECK(bench.spec("web").cpus == 2);
  CHECK(bench.spec("web").kernel_args == std::vector<std::string>{"quiet"});
  CHECK(bench.events.with_reason("TakenOver").size() == 1);
}

TEST_CASE("objects made through the API that no file names are not touched") {
  Bench bench;
  api::VirtualMachine by_hand;
  by_hand.spec.image = "demo";
  REQUIRE(bench.objects.create({.meta = {.name = "web", .ns = "default"}, .body = by_hand}));
  bench.put("a.yaml", vm_yaml("one"));
  bench.pass();
  bench.erase("a.yaml");
  bench.pass();
  CHECK(bench.find("web"));
  CHECK_FALSE(bench.find("one"));
}

TEST_CASE("objects of another source are left to it while it exists") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  const auto other_root = bench.scratch.path() / "other";
  fs::create_directory(other_root);
  write_text(other_root / "x.yaml", vm_yaml("one", "  cpus: 3\n"));
  ManifestDirectory other({.directory = other_root.native(), .name = "other"}, bench.objects, bench.events, bench.clock);
  REQUIRE(other.scan());
  CHECK(bench.spec("one").cpus == 1);
  CHECK(bench.owner("one") == "a.yaml");
  const auto source = bench.store->get({.kind = api::Kind::ManifestSource, .ns = "", .name = "other"});
  REQUIRE(source);
  const auto& rows = std::get<api::ManifestSource>(source->body).status.files;
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].state == "Conflict");
  CHECK(rows[0].message.find("already comes from a.yaml of source manifests") != std::string::npos);
  bench.pass();
  CHECK(bench.owner("one") == "a.yaml");
  REQUIRE(bench.objects.remove(api::key_of(bench.source()), {}));
  REQUIRE(other.scan());
  CHECK(bench.spec("one").cpus == 3);
}

TEST_CASE("a file that names an object in deletion waits, and makes it anew when it is gone") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  const auto uid = bench.vm("one").meta.uid;
  REQUIRE(bench.objects.edit(vm_key("one"), [](api::Object& object) -> Result<void> {
    object.meta.finalizers = {"banger.dev/host"};
    return {};
  }));
  REQUIRE(bench.objects.remove(vm_key("one"), {}));
  bench.pass();
  CHECK(bench.row("a.yaml").state == "Waiting");
  CHECK(bench.row("a.yaml").message.find("VirtualMachine default/one is still being deleted") != std::string::npos);
  CHECK(bench.vm("one").meta.deletion_time);
  CHECK(bench.intake->look_again());
  REQUIRE(bench.objects.edit(vm_key("one"), [](api::Object& object) -> Result<void> {
    object.meta.finalizers.clear();
    return {};
  }));
  CHECK_FALSE(bench.find("one"));
  bench.pass();
  CHECK(bench.vm("one").meta.uid != uid);
  CHECK(bench.row("a.yaml").state == "Applied");
}

TEST_CASE("a removed file whose object has finalizers begins its deletion once and leaves the rest to them") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  REQUIRE(bench.objects.edit(vm_key("one"), [](api::Object& object) -> Result<void> {
    object.meta.finalizers = {"banger.dev/host"};
    return {};
  }));
  bench.erase("a.yaml");
  bench.pass();
  CHECK(bench.vm("one").meta.deletion_time);
  const auto revision = bench.store->revision();
  bench.pass();
  CHECK(bench.store->revision() == revision);
}

TEST_CASE("an object deleted through the API comes back while its file is there") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  REQUIRE(bench.objects.remove(vm_key("one"), {}));
  bench.scan();
  CHECK(bench.find("one"));
}

TEST_CASE("what may not be read is a row, and its objects stay") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  fs::permissions(bench.root / "a.yaml", fs::perms(0666));
  bench.pass();
  CHECK(bench.row("a.yaml").state == "Invalid");
  CHECK(bench.row("a.yaml").message == "a.yaml: may be written by everyone (mode 0666), expected chmod o-w");
  CHECK(bench.find("one"));
  fs::permissions(bench.root / "a.yaml", fs::perms(0644));
  bench.pass();
  CHECK(bench.row("a.yaml").state == "Applied");
  fs::rename(bench.root / "a.yaml", bench.scratch.path() / "target");
  fs::create_symlink(bench.scratch.path() / "target", bench.root / "a.yaml");
  bench.pass();
  CHECK(bench.row("a.yaml").state == "Invalid");
  CHECK(bench.find("one"));
}

TEST_CASE("a store that cannot answer leaves everything for the next scan") {
  class Unavailable final : public api::EventSink {
   public:
    void record(const api::ObjectKey&, const std::string&, api::EventType, std::string_view, std::string_view) override {}
  };
  // Writes fail one after another, at every point a scan can reach, until the whole scan gets through.
  class Failing final : public store::Store {
   public:
    explicit Failing(store::Store& inner) : inner_(inner) {}
    int writes_left = 0;
    Result<api::Object> get(const api::ObjectKey& key) override { return inner_.get(key); }
    Result<store::Listing> list(const store::ListQuery& query) override { return inner_.list(query); }
    Result<api::Object> create(const api::Object& object) override {
      return writes_left-- > 0 ? inner_.create(object)
                               : fail({.code = ErrorCode::Unavailable, .message = "disk full", .sys_errno = 0});
    }
    Result<api::Object> update(const api::Object& object) override {
      return writes_left-- > 0 ? inner_.update(object)
                               : fail({.code = ErrorCode::Unavailable, .message = "disk full", .sys_errno = 0});
    }
    Result<api::Object> remove(const api::ObjectKey& key, std::optional<store::Revision> expected) override {
      return writes_left-- > 0 ? inner_.remove(key, expected)
                               : fail({.code = ErrorCode::Unavailable, .message = "disk full", .sys_errno = 0});
    }
    store::Revision revision() override { return inner_.revision(); }
    store::Revision compacted() override { return inner_.compacted(); }
    Result<std::unique_ptr<store::Watch>> watch(const store::WatchQuery& query) override { return inner_.watch(query); }
    Result<void> compact(store::Revision revision) override { return inner_.compact(revision); }
    bool poisoned() override { return true; }

   private:
    store::Store& inner_;
  };
  Bench bench;
  Failing failing(*bench.store);
  store::Objects objects(failing, bench.clock, bench.random);
  ManifestDirectory intake({.directory = bench.root.native(), .removal_settle = milliseconds{0}}, objects, bench.events,
                           bench.clock);
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("two"));
  int failures = 0;
  for (int writes = 0;; ++writes) {
    failing.writes_left = writes;
    if (intake.scan()) break;
    ++failures;
    REQUIRE(failures < 20);
  }
  CHECK(failures > 1);
  CHECK(bench.vms() == 2);
  CHECK(bench.row("a.yaml").state == "Applied");
  bench.erase("a.yaml");
  failing.writes_left = 0;
  CHECK_FALSE(intake.scan());
  CHECK(bench.vms() == 2);
  failing.writes_left = 100;
  REQUIRE(intake.scan());
  CHECK(bench.vms() == 0);
}

// --- files that are being written: here the wall clock is that of the files, and stands still while time passes
// -------------------
WallTime file_time() { return SystemClock{}.wall(); }

void wait(Bench& bench, milliseconds time) {
  bench.clock.advance(time);
  bench.clock.jump_wall(-time);
}

TEST_CASE("a file that changed a moment ago is read when two looks 100 ms apart see the same") {
  Bench bench(file_time());
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  CHECK_FALSE(bench.find("one"));
  CHECK(bench.row("a.yaml").state == "Waiting");
  CHECK(bench.intake->look_again() == milliseconds{100});
  wait(bench, milliseconds{99});
  bench.put("a.yaml", vm_yaml("one", "  cpus: 2\n"));  // it grew: the count begins anew
  bench.scan();
  wait(bench, milliseconds{99});
  bench.scan();
  CHECK_FALSE(bench.find("one"));
  wait(bench, milliseconds{1});
  bench.scan();
  CHECK(bench.spec("one").cpus == 2);
}

TEST_CASE("while a file settles its objects stay as they were, and so does its row") {
  Bench bench(file_time());
  bench.put("a.yaml", vm_yaml("one", "  cpus: 2\n") + vm_yaml("two"));
  bench.scan();
  wait(bench, milliseconds{100});
  bench.scan();
  REQUIRE(bench.vms() == 2);
  for (int i = 0; i < 50; ++i) {  // somebody writes, slowly, a file that would lose an object if it were read now
    bench.put("a.yaml", vm_yaml("one", "  cpus: 3\n  # " + std::string(static_cast<std::size_t>(i), 'x') + "\n"));
    wait(bench, milliseconds{50});
    bench.scan();
  }
  CHECK(bench.spec("one").cpus == 2);
  CHECK(bench.find("two"));
  CHECK(bench.row("a.yaml").state == "Applied");
}

TEST_CASE("a removal is not decided while another file settles: it may declare the object") {
  Bench bench(file_time());
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  wait(bench, milliseconds{100});
  bench.scan();
  REQUIRE(bench.find("one"));
  bench.erase("a.yaml");
  for (int i = 0; i < 20; ++i) {
    bench.put("b.yaml", vm_yaml("one", "  # " + std::string(static_cast<std::size_t>(i), 'x') + "\n"));
    wait(bench, milliseconds{90});
    bench.scan();
  }
  CHECK(bench.find("one"));
  wait(bench, milliseconds{100});
  bench.scan();
  CHECK(bench.owner("one") == "b.yaml");
}

}  // namespace
}  // namespace banger::intake
