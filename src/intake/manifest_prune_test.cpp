// SPDX-License-Identifier: Apache-2.0
// What goes with its file, what waits for a person.
#include "intake/bench_test.hpp"

namespace banger::intake {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

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

TEST_CASE("a built-in object outlives the file that declared it, and is nobody's again") {
  Bench bench;
  const api::ObjectKey host{.kind = api::Kind::Kernel, .ns = "", .name = "host"};
  REQUIRE(
      bench.objects.create({.meta = {.name = "host"}, .body = api::Kernel{.spec = {.source = api::KernelSource::HostPackage}}}));
  const std::string text =
      "apiVersion: banger.dev/v1alpha1\nkind: Kernel\nmetadata: {name: host}\nspec:\n  source: HostPackage\n";
  bench.put("kernel.yaml", text + "  args: [quiet]\n");
  bench.pass();
  const auto taken = bench.store->get(host);
  REQUIRE(taken);
  CHECK(owner_of(*taken)->file == "kernel.yaml");
  bench.erase("kernel.yaml");
  bench.pass();
  const auto released = bench.store->get(host);
  REQUIRE(released);
  CHECK_FALSE(released->meta.deletion_time);
  CHECK_FALSE(owner_of(*released));
  CHECK(std::get<api::Kernel>(released->body).spec == std::get<api::Kernel>(taken->body).spec);
  CHECK(bench.events.with_reason("Released").size() == 1);
  bench.pass();
  CHECK(bench.events.with_reason("Released").size() == 1);
}

TEST_CASE("a refusal that is known only by its document's line shows no column") {
  Bench bench;
  bench.put("net.yaml",
            "# a comment\napiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: n}\nspec: {cidr: 10.9.1.0/24}\n");
  bench.pass();
  bench.put("net.yaml",
            "# a comment\napiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: n}\nspec: {cidr: 10.9.2.0/24}\n");
  bench.pass();
  CHECK(bench.row("net.yaml").message.starts_with("net.yaml:2: spec.cidr: cannot be changed from "));
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

TEST_CASE("a sub-directory that cannot even be looked at removes nothing, nor after a restart") {
  Bench bench;
  fs::create_directories(bench.root / "outer" / "inner");
  bench.put("outer/inner/a.yaml", vm_yaml("one"));
  bench.put("b.yaml", vm_yaml("two"));
  bench.pass();
  fs::permissions(bench.scratch.path(), fs::perms(0755));
  fs::permissions(bench.root / "outer", fs::perms(0444));  // it can be listed; what is in it cannot be looked at
  const auto look = [&] {
    bench.pass();
    bench.restart();
    bench.pass();
  };
  if (::geteuid() == 0) {
    const AsNobody nobody;
    look();
  } else {
    look();
  }
  CHECK(bench.row("outer/inner").state == "Invalid");
  CHECK(bench.find("one"));
  CHECK_FALSE(bench.suspended());
  fs::permissions(bench.root / "outer", fs::perms(0755));
  bench.erase("outer/inner/a.yaml");
  bench.pass();
  CHECK_FALSE(bench.find("one"));
}

}  // namespace
}  // namespace banger::intake
