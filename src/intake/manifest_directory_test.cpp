// SPDX-License-Identifier: Apache-2.0
// What files make of objects, and what they cannot break.
#include "intake/bench_test.hpp"

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

TEST_CASE("one object twice in a file is refused with both places") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one") + vm_yaml("one"));
  bench.scan();
  CHECK(bench.vms() == 0);
  CHECK(bench.row("a.yaml").state == "Invalid");
  CHECK(bench.row("a.yaml").message.find("VirtualMachine default/one is declared a second time, first in line") !=
        std::string::npos);
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

}  // namespace
}  // namespace banger::intake
