// SPDX-License-Identifier: Apache-2.0
// Whose an object is: renames, conflicts, takeovers, deletions through the API.
#include "intake/bench_test.hpp"

namespace banger::intake {
namespace {

namespace fs = std::filesystem;

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

TEST_CASE("an object deleted through the API comes back while its file is there") {
  Bench bench;
  bench.put("a.yaml", vm_yaml("one"));
  bench.scan();
  REQUIRE(bench.objects.remove(vm_key("one"), {}));
  bench.scan();
  CHECK(bench.find("one"));
}

}  // namespace
}  // namespace banger::intake
