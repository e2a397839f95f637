// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <boost/json.hpp>

#include "server/rig.hpp"

using namespace banger;
using namespace banger::server;

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kMerge = "application/merge-patch+json";

std::string vm_path(std::string_view name) { return fmt::format("{}/{}", kVms, name); }

Response create(Rig& rig, std::string_view body, std::string_view query = "") {
  return rig.ask("POST", std::string(kVms) + std::string(query), body, kJson);
}
Response patch(Rig& rig, std::string_view name, std::string_view body, std::string_view query = "") {
  return rig.ask("PATCH", vm_path(name) + std::string(query), body, kMerge);
}
std::string message(const Response& response) { return at(response.body, "message"); }

}  // namespace

TEST_CASE("a created object gets uid, generation, creation time and a revision") {
  Rig rig;
  const auto response = create(rig, vm_json("web", R"("labels":{"app":"web"},"uid":"x","generation":9)"));
  CAPTURE(response.body);
  CHECK(response.status == 201);
  CHECK(is_uid(at(response.body, "metadata.uid")));
  CHECK(at(response.body, "metadata.generation") == "1");
  CHECK(at(response.body, "metadata.namespace") == "default");
  CHECK(at(response.body, "metadata.resourceVersion") == std::to_string(rig.store->revision()));
  CHECK(rig.get(vm_path("web")).body == response.body);
}

TEST_CASE("POST without a content type is JSON, as kubectl 1.20 sends it") {
  Rig rig;
  CHECK(rig.ask("POST", kVms, vm_json("web")).status == 201);
  CHECK(rig.ask("POST", kVms, vm_json("db"), "application/json; charset=utf-8").status == 201);
}

TEST_CASE("creating what is there is 409 AlreadyExists") {
  Rig rig;
  rig.put_vm("web");
  const auto response = create(rig, vm_json("web"));
  CHECK(response.status == 409);
  CHECK(at(response.body, "reason") == "AlreadyExists");
  CHECK(message(response) == "virtualmachines.banger.dev \"web\" already exists");
}

TEST_CASE("generateName gives a name with five characters more") {
  Rig rig;
  const auto body =
      R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"generateName":"web-"},"spec":{"image":"demo"}})";
  const auto name = at(create(rig, body).body, "metadata.name");
  CHECK(name.size() == 9);
  CHECK(name.starts_with("web-"));
  CHECK(at(create(rig, body).body, "metadata.name") != name);
}

TEST_CASE("bodies that are no object of the kind get 400 and a sentence") {
  Rig rig;
  const std::string cases[] = {"",
                               "{",
                               "[]",
                               "7",
                               R"({"kind":"VirtualMachine"})",
                               R"({"apiVersion":"banger.dev/v1alpha1"})",
                               R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","metadata":{"name":"x"}})",
                               R"({"apiVersion":"v1","kind":"VirtualMachine","metadata":{"name":"x"}})",
                               R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":7})",
                               vm_json("web", R"("namespace":"other")"),
                               vm_json("web", R"("resourceVersion":"7")"),
                               std::string(5000, '[')};
  for (const auto& body : cases) {
    CAPTURE(body);
    const auto response = create(rig, body);
    CHECK(response.status == 400);
    CHECK(at(response.body, "reason") == "BadRequest");
    CHECK(message(response).size() > 10);
  }
  CHECK(rig.store->revision() == 0);
}

TEST_CASE("what a field may not hold gets 422 with a cause a field") {
  Rig rig;
  const auto response = create(rig, vm_json("web", "", R"("cpus":99,"memory":"lots")"));
  CAPTURE(response.body);
  CHECK(response.status == 422);
  CHECK(at(response.body, "reason") == "Invalid");
  CHECK(at(response.body, "details.kind") == "VirtualMachine");
  CHECK(at(response.body, "details.name") == "web");
  CHECK(parsed(response.body).at("details").at("causes").as_array().size() == 2);
  CHECK(response.body.find(R"({"reason":"FieldValueInvalid","message":"must be between 1 and 32, is 99","field":"spec.cpus"})") !=
        std::string::npos);
  CHECK(response.body.find(R"("field":"spec.memory")") != std::string::npos);
  CHECK(message(response).starts_with("VirtualMachine.banger.dev \"web\" is invalid: [spec."));
  const auto twice = create(
      rig,
      R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"name":"x"},"spec":{"image":"a","image":"b"}})");
  CHECK(twice.status == 422);
  CHECK(at(twice.body, "details.causes.0.reason") == "FieldValueDuplicate");
}

TEST_CASE("unknown fields are refused, warned about, or ignored, as asked") {
  Rig rig;
  const auto body = vm_json("web", "", R"("cpuss":2)");
  const auto strict = create(rig, body);
  CHECK(strict.status == 400);
  CHECK(message(strict).starts_with(
      "VirtualMachine in version \"v1alpha1\" cannot be handled as a VirtualMachine: strict decoding error: "
      "unknown field \"spec.cpuss\""));
  CHECK(message(strict).find("did you mean \"cpus\"") != std::string::npos);
  const auto warned = create(rig, body, "?fieldValidation=Warn");
  CHECK(warned.status == 201);
  REQUIRE(warned.headers.size() == 1);
  CHECK(warned.headers[0].first == "Warning");
  CHECK(warned.headers[0].second.starts_with(R"(299 - "unknown field \"spec.cpuss\")"));
  CHECK(create(rig, vm_json("b", "", R"("cpuss":2)"), "?fieldValidation=Ignore").headers.empty());
  CHECK(create(rig, vm_json("c"), "?fieldValidation=Maybe").status == 422);
}

TEST_CASE("other media types get 415 with those that are accepted") {
  Rig rig;
  rig.put_vm("web");
  CHECK(rig.ask("POST", kVms, "x: 1", "application/yaml").status == 415);
  CHECK(rig.ask("PUT", vm_path("web"), "{}", "text/plain").status == 415);
  CHECK(rig.ask("DELETE", vm_path("web"), "x", "application/vnd.kubernetes.protobuf").status == 415);
  const auto strategic = rig.ask("PATCH", vm_path("web"), "{}", "application/strategic-merge-patch+json");
  CHECK(strategic.status == 415);
  CHECK(message(strategic).ends_with("accepted media types include: application/merge-patch+json"));
}

TEST_CASE("PUT replaces what was read and moves the generation with the spec") {
  Rig rig;
  const auto vm = rig.put_vm("web");
  const auto body = vm_json("web", fmt::format(R"("resourceVersion":"{}")", vm.meta.resource_version), R"("cpus":2)");
  const auto written = rig.ask("PUT", vm_path("web"), body, kJson);
  CAPTURE(written.body);
  CHECK(written.status == 200);
  CHECK(at(written.body, "metadata.generation") == "2");
  const auto stale = rig.ask("PUT", vm_path("web"), body, kJson);
  CHECK(stale.status == 409);
  CHECK(at(stale.body, "reason") == "Conflict");
  CHECK(message(stale) ==
        "Operation cannot be fulfilled on virtualmachines.banger.dev \"web\": the object has been modified; please "
        "apply your changes to the latest version and try again");
  const auto blind = rig.ask("PUT", vm_path("web"), vm_json("web"), kJson);
  CHECK(blind.status == 422);
  CHECK(at(blind.body, "details.causes.0.field") == "metadata.resourceVersion");
  CHECK(rig.ask("PUT", vm_path("web"), vm_json("db", R"("resourceVersion":"1")"), kJson).status == 400);
  CHECK(rig.ask("PUT", vm_path("no"), vm_json("no", R"("resourceVersion":"1")"), kJson).status == 404);
}

TEST_CASE("a PUT of what is there changes nothing and makes no revision") {
  Rig rig;
  rig.put_vm("web");
  const auto revision = rig.store->revision();
  const auto body = rig.get(vm_path("web")).body;
  CHECK(rig.ask("PUT", vm_path("web"), body, kJson).body == body);
  CHECK(rig.store->revision() == revision);
}

TEST_CASE("a merge patch edits the current object and drops what it says about status") {
  Rig rig;
  rig.put_vm("web", R"("labels":{"a":"1","b":"2"})");
  const auto response =
      patch(rig, "web", R"({"metadata":{"labels":{"a":null,"c":"3"}},"spec":{"cpus":4},"status":{"phase":"Running"}})");
  CAPTURE(response.body);
  CHECK(response.status == 200);
  CHECK(at(response.body, "metadata.labels") == R"({"b":"2","c":"3"})");
  CHECK(at(response.body, "spec.cpus") == "4");
  CHECK(at(response.body, "metadata.generation") == "2");
  CHECK(at(response.body, "status.phase").empty());
  CHECK(patch(rig, "web", R"({"metadata":{"labels":{"z":"1"}}})").body.find("\"generation\":2") != std::string::npos);
}

TEST_CASE("which file an object came from is not the client's to say") {
  Rig rig;
  const std::string forged = R"("annotations":{"banger.dev/source":"manifests:other.yaml","team":"web"})";
  const auto made = create(rig, vm_json("copy", forged));
  CHECK(made.status == 201);
  CHECK(made.body.find("banger.dev/source") == std::string::npos);
  CHECK(patch(rig, "copy", "{\"metadata\":{" + forged + "}}").body.find("banger.dev/source") == std::string::npos);

  rig.put_vm("web");
  const api::ObjectKey key{.kind = api::Kind::VirtualMachine, .ns = "default", .name = "web"};
  REQUIRE(rig.objects.edit(key, [](api::Object& object) -> Result<void> {
    object.meta.annotations["banger.dev/source"] = "manifests:web.yaml";
    return {};
  }));
  const auto source = [&] { return rig.store->get(key)->meta.annotations["banger.dev/source"]; };
  CHECK(patch(rig, "web", R"({"metadata":{"annotations":null}})").status == 200);
  CHECK(source() == "manifests:web.yaml");
  const auto version = at(rig.get(vm_path("web")).body, "metadata.resourceVersion");
  const auto body = vm_json("web", fmt::format(R"({},"resourceVersion":"{}")", forged, version));
  CHECK(rig.ask("PUT", vm_path("web"), body, kJson).status == 200);
  CHECK(source() == "manifests:web.yaml");
}

TEST_CASE("what a file said last of its object is not the client's to say, so that an edit stays until the file changes") {
  Rig rig;
  rig.put_vm("web");
  const api::ObjectKey key{.kind = api::Kind::VirtualMachine, .ns = "default", .name = "web"};
  const auto last = [&] { return rig.store->get(key)->meta.annotations["banger.dev/last-applied"]; };
  const auto applied = [](const std::string& said) {
    return R"({"metadata":{"annotations":{"banger.dev/last-applied":")" + said + R"("}},"spec":{"cpus":3}})";
  };
  CHECK(patch(rig, "web", applied("by hand")).status == 200);
  CHECK(last() == "by hand");  // nobody's object: whoever applies it keeps his notes there
  REQUIRE(rig.objects.edit(key, [](api::Object& object) -> Result<void> {
    object.meta.annotations["banger.dev/source"] = "manifests:web.yaml";
    object.meta.annotations["banger.dev/last-applied"] = "by the file";
    return {};
  }));
  CHECK(at(patch(rig, "web", applied("by hand again")).body, "spec.cpus") == "3");
  CHECK(last() == "by the file");
  CHECK(patch(rig, "web", R"({"metadata":{"annotations":null}})").status == 200);
  CHECK(last() == "by the file");
}

TEST_CASE("patches that cannot be applied are refused as what they are") {
  Rig rig;
  rig.put_vm("web");
  CHECK(patch(rig, "no", "{}").status == 404);
  CHECK(patch(rig, "web", "7").status == 400);
  CHECK(patch(rig, "web", R"({"metadata":{"name":"db"}})").status == 400);
  CHECK(patch(rig, "web", R"({"kind":"Network"})").status == 400);
  CHECK(patch(rig, "web", R"({"spec":{"cpus":0}})").status == 422);
  CHECK(patch(rig, "web", R"({"spec":{"cpu":1}})").status == 400);
  CHECK(patch(rig, "web", R"({"metadata":{"resourceVersion":"999"},"spec":{"cpus":2}})").status == 409);
  CHECK(at(rig.get(vm_path("web")).body, "metadata.generation") == "1");
}

TEST_CASE("DELETE removes at once, or marks what finalizers hold") {
  Rig rig;
  const auto vm = rig.put_vm("web");
  const auto gone = rig.ask("DELETE", vm_path("web"));
  CHECK(gone.status == 200);
  CHECK(at(gone.body, "status") == "Success");
  CHECK(at(gone.body, "details.uid") == vm.meta.uid);
  CHECK(rig.ask("DELETE", vm_path("web")).status == 404);
  rig.put_vm("db");
  REQUIRE(rig.objects.edit({api::Kind::VirtualMachine, "default", "db"}, [](api::Object& object) -> Result<void> {
    object.meta.finalizers = {"banger.dev/teardown"};
    return {};
  }));
  const auto marked = rig.ask("DELETE", vm_path("db"), R"({"propagationPolicy":"Background"})", kJson);
  CHECK(at(marked.body, "kind") == "VirtualMachine");
  CHECK_FALSE(at(marked.body, "metadata.deletionTimestamp").empty());
  CHECK(at(marked.body, "metadata.generation") == "2");
  CHECK(at(rig.ask("DELETE", vm_path("db")).body, "metadata.generation") == "2");
}

TEST_CASE("DELETE of what is built in warns of what comes of it") {
  Rig rig;
  const auto body = [](std::string_view name) {
    return fmt::format(R"({{"apiVersion":"banger.dev/v1alpha1","kind":"Network","metadata":{{"name":"{}"}},"spec":{{}}}})", name);
  };
  REQUIRE(rig.ask("POST", kNetworks, body("default")).status == 201);
  REQUIRE(rig.ask("POST", kNetworks, body("lab")).status == 201);
  const auto warned = rig.ask("DELETE", std::string(kNetworks) + "/default");
  CHECK(warned.status == 200);
  REQUIRE(warned.headers.size() == 1);
  CHECK(warned.headers[0].first == "Warning");
  CHECK(warned.headers[0].second ==
        R"(299 - "Network default is built in: what refers to it waits until bangerd starts next and makes it anew")");
  CHECK(rig.ask("DELETE", std::string(kNetworks) + "/lab").headers.empty());
}

TEST_CASE("DELETE keeps to its preconditions") {
  Rig rig;
  const auto vm = rig.put_vm("web");
  const auto remove = [&](const std::string& options) { return rig.ask("DELETE", vm_path("web"), options, kJson); };
  CHECK(remove(R"({"preconditions":{"uid":"other"}})").status == 409);
  CHECK(remove(R"({"preconditions":{"resourceVersion":"999"}})").status == 409);
  CHECK(remove(R"({"preconditions":{"resourceVersion":"x"}})").status == 400);
  CHECK(remove(R"({"preconditions":7})").status == 400);
  CHECK(remove(R"({"propagationPolicy":"Orphan"})").status == 422);
  CHECK(remove(R"({"dryRun":["Some"]})").status == 422);
  CHECK(remove("nonsense").status == 400);
  CHECK(rig.get(vm_path("web")).status == 200);
  CHECK(remove(fmt::format(R"({{"preconditions":{{"uid":"{}","resourceVersion":"{}"}}}})", vm.meta.uid, vm.meta.resource_version))
            .status == 200);
}

TEST_CASE("a dry run answers as the write would and writes nothing") {
  Rig rig;
  rig.put_vm("web");
  const auto revision = rig.store->revision();
  const auto created = create(rig, vm_json("db"), "?dryRun=All");
  CHECK(created.status == 201);
  CHECK(is_uid(at(created.body, "metadata.uid")));
  CHECK(at(created.body, "metadata.resourceVersion").empty());
  CHECK(create(rig, vm_json("web"), "?dryRun=All").status == 409);
  CHECK(create(rig, vm_json("x", "", R"("cpus":0)"), "?dryRun=All").status == 422);
  CHECK(create(rig, vm_json("x"), "?dryRun=Some").status == 422);
  const auto patched = patch(rig, "web", R"({"spec":{"cpus":3}})", "?dryRun=All");
  CHECK(at(patched.body, "spec.cpus") == "3");
  CHECK(at(patched.body, "metadata.generation") == "2");
  CHECK(at(patched.body, "metadata.uid") == at(rig.get(vm_path("web")).body, "metadata.uid"));
  CHECK(patch(rig, "web", R"({"metadata":{"resourceVersion":"99"}})", "?dryRun=All").status == 409);
  CHECK(at(rig.ask("DELETE", vm_path("web"), R"({"dryRun":["All"]})", kJson).body, "status") == "Success");
  CHECK(rig.ask("DELETE", vm_path("no") + "?dryRun=All").status == 404);
  CHECK(rig.store->revision() == revision);
}

TEST_CASE("of a manifest source only the token under which removals wait may be confirmed") {
  Rig rig;
  api::ManifestSource source{.spec = {.directory = "/etc/banger"}, .status = {.prune_token = "t1"}};
  rig.put({.meta = {.name = "main", .uid = "0f0f0f0f-0000-4000-8000-000000000001"}, .body = source});
  const std::string path = "/apis/banger.dev/v1alpha1/manifestsources/main";
  const auto confirm = [&](std::string_view body) { return rig.ask("PATCH", path, body, kMerge); };
  CHECK(confirm(R"({"spec":{"directory":"/"}})").status == 403);
  CHECK(confirm(R"({"spec":{"confirmedPruneToken":"t1","directory":"/"}})").status == 403);
  CHECK(confirm(R"({"metadata":{"labels":{"a":"b"}},"spec":{"confirmedPruneToken":"t1"}})").status == 403);
  const auto other = confirm(R"({"spec":{"confirmedPruneToken":"t0"}})");
  CHECK(other.status == 409);
  CHECK(message(other).find("bangerctl get sources") != std::string::npos);
  const auto good = confirm(R"({"spec":{"confirmedPruneToken":"t1"}})");
  CHECK(good.status == 200);
  CHECK(at(good.body, "spec.confirmedPruneToken") == "t1");
  CHECK(at(good.body, "spec.directory") == "/etc/banger");
}
