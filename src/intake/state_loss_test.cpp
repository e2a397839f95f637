// SPDX-License-Identifier: Apache-2.0
// After the database was lost: what the manifests own again, and what must have been read before adopt mode ends by itself.
#include "intake/bench_test.hpp"
#include "intake/read_record.hpp"

namespace banger::intake {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// A daemon that found no database and put back what records say; the ManifestSource is not among it.
struct LossBench : Bench {
  bool adopting = true;
  int whole = 0;
  void lose(const std::vector<std::string>& names) {
    std::vector<api::Object> kept;
    for (const auto& name : names) kept.push_back(vm(name));
    store = store::make_memory_store();
    std::destroy_at(&objects);
    std::construct_at(&objects, *store, clock, random);
    for (auto object : kept) {
      object.meta.resource_version = 0;
      REQUIRE(store->create(object));
    }
    auto with = options();
    with.removals_held = [this] { return adopting; };
    with.read_whole = [this] {
      ++whole;
      adopting = false;
    };
    intake = std::make_unique<ManifestDirectory>(with, objects, events, clock);
  }
};

TEST_CASE("after a loss the manifests own their objects again, write nothing to them and end adopt mode") {
  LossBench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  bench.lose({"one", "two"});
  const auto before = bench.vm("one");
  bench.pass();
  CHECK(bench.whole == 1);
  CHECK(bench.vm("one") == before);
  CHECK(bench.owner("two") == "b.yaml");
  CHECK_FALSE(bench.suspended());
}

TEST_CASE("after a loss what no file declares waits for a person, in adopt mode and after it") {
  LossBench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  bench.erase("b.yaml");
  bench.lose({"one", "two"});
  bench.pass();
  CHECK(bench.whole == 1);
  CHECK(bench.find("two"));
  bench.clock.advance(milliseconds{60'000});
  bench.pass();
  CHECK(bench.find("two"));
  CHECK(bench.suspended());
  bench.confirm();
  bench.pass();
  CHECK_FALSE(bench.find("two"));
}

TEST_CASE("adopt mode goes on while a file cannot be read, the directory is not there, or is empty") {
  LossBench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.pass();
  bench.lose({"one"});
  bench.put("bad.yaml", "kind: [\n");
  bench.pass();
  CHECK(bench.whole == 0);
  bench.erase("bad.yaml");
  bench.erase("a.yaml");
  bench.pass();
  CHECK(bench.whole == 0);
  fs::remove_all(bench.root);
  bench.pass();
  CHECK(bench.whole == 0);
  CHECK(bench.find("one"));
  fs::create_directory(bench.root);
  bench.pass();
  CHECK(bench.whole == 0);
  bench.put("readme.yaml", "# the manifests are on another disk\n");
  bench.pass();
  CHECK(bench.row("readme.yaml").state == "Applied");
  CHECK(bench.whole == 0);
  bench.put("a.yaml", vm_yaml("one"));
  bench.pass();
  CHECK(bench.whole == 1);
}

TEST_CASE("adopt mode goes on in an empty directory while things on the host wait for their object") {
  LossBench bench;
  bench.lose({});
  const std::string uid = "1b5e6f6a-1111-4222-8333-444455556666";
  bench.objects.claim({{vm_key("one"), uid}});
  bench.pass();
  CHECK(bench.whole == 0);
  bench.put("a.yaml", vm_yaml("one"));
  bench.pass();
  CHECK(bench.whole == 1);
  CHECK(bench.vm("one").meta.uid == uid);
}

TEST_CASE("an empty directory from which nothing came ends adopt mode") {
  LossBench bench;
  bench.lose({});
  bench.pass();
  CHECK(bench.whole == 1);
}

TEST_CASE("adopt mode goes on while a sub-directory from which objects came is empty or gone") {
  LossBench bench;
  fs::create_directory(bench.root / "team");
  bench.put("team/a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  fs::remove(bench.record);  // objects alone say where they came from
  bench.erase("team/a.yaml");
  bench.lose({"one", "two"});
  bench.pass();
  CHECK(bench.whole == 0);
  CHECK(bench.condition("Ready").reason == "NotWhole");
  CHECK(bench.condition("Ready").message ==
        "the sub-directory team holds no manifest, and did when all were read last; adopt mode goes on until that changes, or "
        "until bangerctl gc --confirm");
  fs::remove(bench.root / "team");
  bench.pass();
  CHECK(bench.whole == 0);
  CHECK(bench.find("one"));
  CHECK(bench.intake->look_again());  // of a mount nobody tells
  fs::create_directory(bench.root / "team");
  bench.put("team/a.yaml", vm_yaml("one"));
  bench.pass();
  CHECK(bench.whole == 1);
  CHECK(bench.condition("Ready").reason == "Applied");
}

TEST_CASE("adopt mode goes on while a directory is empty that held manifests when all were read last, though no object says so") {
  LossBench bench;
  fs::create_directory(bench.root / "team");
  bench.put("team/a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  bench.erase("team/a.yaml");
  bench.lose({"two"});
  bench.pass();
  CHECK(bench.whole == 0);
  bench.put("team/a.yaml", vm_yaml("one"));
  bench.pass();
  CHECK(bench.whole == 1);
}

TEST_CASE("adopt mode goes on while the directory is what a mount is to cover, also when that holds a manifest") {
  LossBench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  const auto mounted = bench.scratch.path() / "mounted";
  fs::rename(bench.root, mounted);
  fs::create_directory(bench.root);
  bench.put("a.yaml", vm_yaml("one"));
  std::vector<std::string> restored{"one", "two"};
  SUBCASE("its objects came back") {}
  SUBCASE("one is known by a label only") { restored.pop_back(); }
  const bool label_only = restored.size() == 1;
  const auto uid = bench.vm("two").meta.uid;
  bench.lose(restored);
  if (label_only) bench.objects.claim({{vm_key("two"), uid}});
  bench.pass();
  CHECK(bench.whole == 0);
  CHECK(bench.condition("Ready").message.starts_with(
      "the directory is not the one that was read last, and no file of it declares VirtualMachine default/two; "));
  fs::rename(bench.root, bench.scratch.path() / "covered");
  fs::rename(mounted, bench.root);
  bench.pass();
  CHECK(bench.whole == 1);
  CHECK(bench.vm("two").meta.uid == uid);
}

TEST_CASE("what was read last is kept only of a directory that is whole, and of this very path") {
  Bench bench;
  fs::create_directories(bench.root / "team" / "web");
  bench.put("team/web/a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.put("c.yaml", "# of nothing\n");
  bench.pass();
  const auto kept = load_read_record(bench.record);
  REQUIRE(kept);
  REQUIRE(*kept);
  CHECK((*kept)->directory == bench.root.native());
  CHECK((*kept)->held == std::set<std::string>{"", "team/web"});
  CHECK_FALSE((*kept)->identity.empty());
  const auto now = [&] { return load_read_record(bench.record).value(); };

  bench.put("bad.yaml", "kind: [\n");
  bench.erase("team/web/a.yaml");
  bench.pass();
  CHECK(now() == *kept);  // not understood
  bench.erase("bad.yaml");
  bench.pass();
  CHECK(now()->held == std::set<std::string>{""});
  fs::rename(bench.root, bench.scratch.path() / "moved");
  fs::create_directory(bench.root);
  bench.pass();
  CHECK(now()->held == std::set<std::string>{""});  // another directory under the path, where removals wait

  REQUIRE(keep_read_record(bench.record, {.directory = "/elsewhere", .identity = "1:2", .held = {"team"}}));
  LossBench other;
  fs::copy(bench.record, other.record);
  other.lose({});
  other.pass();
  CHECK(other.whole == 1);
}

TEST_CASE("a record of what was read that cannot be understood is refused whole") {
  const ScratchDirectory scratch;
  const auto path = scratch.path() / "manifests.read";
  CHECK(load_read_record(path) == std::nullopt);
  for (const auto* text : {"directory /m\nidentity 1:2\nheld", "held\n", "held \n", "nonsense 1\n", "\n"}) {
    CAPTURE(text);
    fs::remove(path);
    write_text(path, text);
    CHECK_FALSE(load_read_record(path));
  }
  const ReadRecord record{.directory = "/m", .identity = "1:2", .held = {"", "a b/c"}};
  REQUIRE(keep_read_record(path, record));
  CHECK(load_read_record(path) == record);
}

}  // namespace
}  // namespace banger::intake
