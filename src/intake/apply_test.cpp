// SPDX-License-Identifier: Apache-2.0
#include "intake/apply.hpp"

#include <doctest/doctest.h>

#include <string>

#include "base/units.hpp"

namespace banger::intake {
namespace {

const Owner kOwner{.source = "manifests", .file = "web.yaml"};

api::ManifestDocument document(const std::string& spec, const std::string& metadata = "") {
  const auto decoded = api::decode_manifest("apiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: web" +
                                            metadata + "}\nspec: {image: demo" + spec + "}\n");
  REQUIRE_MESSAGE(decoded.refusals.empty(), (decoded.refusals.empty() ? "" : api::to_string(decoded.refusals[0], "")));
  REQUIRE(decoded.value.size() == 1);
  return decoded.value[0];
}

api::VirtualMachineSpec& spec(api::Object& object) { return std::get<api::VirtualMachine>(object.body).spec; }

// What the manifest makes of a live object; the object as it is when there is nothing to do.
api::Object after(const api::ManifestDocument& next, const api::Object& live) {
  auto plan = plan_apply(next, live, kOwner);
  REQUIRE(plan.action != ApplyAction::Refuse);
  return plan.action == ApplyAction::Update ? plan.object : live;
}

api::Object created(const api::ManifestDocument& from) {
  auto plan = plan_apply(from, std::nullopt, kOwner);
  REQUIRE(plan.action == ApplyAction::Create);
  plan.object.meta.uid = "11111111-2222-4333-8444-555555555555";
  plan.object.meta.resource_version = 7;
  plan.object.meta.generation = 1;
  return plan.object;
}

TEST_CASE("an object that is not there is created, marked with its file and what the file said") {
  const auto from = document(", cpus: 2");
  const auto object = created(from);
  CHECK(owner_of(object) == kOwner);
  CHECK(object.meta.annotations.at("banger.dev/source") == "manifests:web.yaml");
  CHECK(object.meta.annotations.at("banger.dev/last-applied") == from.canonical);
  CHECK(std::get<api::VirtualMachine>(object.body).spec.cpus == 2);
}

TEST_CASE("a manifest that says what it said before changes nothing, whatever was edited since") {
  const auto from = document(", powerState: Running");
  auto live = created(from);
  spec(live).power_state = api::PowerState::Stopped;
  CHECK(plan_apply(from, live, kOwner).action == ApplyAction::Nothing);
}

TEST_CASE("a manifest that changed wins where it speaks, and only there") {
  auto live = created(document(", cpus: 2, memory: 512Mi"));
  spec(live).power_state = api::PowerState::Stopped;  // never in the manifest
  spec(live).cpus = 4;                                // in the manifest, edited since
  spec(live).restart_nonce = "n1";
  live.meta.labels["team"] = "a";
  auto next = after(document(", cpus: 3, memory: 512Mi"), live);
  CHECK(spec(next).cpus == 3);
  CHECK(spec(next).power_state == api::PowerState::Stopped);
  CHECK(spec(next).restart_nonce == "n1");
  CHECK(spec(next).memory == mib(512));
  CHECK(next.meta.labels.at("team") == "a");
  CHECK(next.meta.uid == live.meta.uid);
  CHECK(next.meta.resource_version == 7);
}

TEST_CASE("a field that left the manifest has its default again, a label that left is gone") {
  auto live = created(document(", cpus: 4, powerState: Stopped", ", labels: {app: web, tier: front}, annotations: {a: b}"));
  auto next = after(document("", ", labels: {app: web}"), live);
  CHECK(spec(next).cpus == 1);
  CHECK(spec(next).power_state == api::PowerState::Running);
  CHECK(next.meta.labels == std::map<std::string, std::string>{{"app", "web"}});
  CHECK_FALSE(next.meta.annotations.contains("a"));
  CHECK(owner_of(next) == kOwner);
}

TEST_CASE("lists are taken as the manifest has them") {
  auto live = created(document(", disks: [{name: a, size: 1Gi}, {name: b, size: 1Gi}]"));
  auto next = after(document(", disks: [{name: b, size: 2Gi}]"), live);
  REQUIRE(spec(next).disks.size() == 1);
  CHECK(spec(next).disks[0].name == "b");
  CHECK(spec(next).disks[0].size == gib(2));
}

TEST_CASE("the same text from another file changes the mark and nothing else") {
  const auto from = document(", cpus: 2");
  auto live = created(from);
  spec(live).power_state = api::PowerState::Stopped;
  const auto plan = plan_apply(from, live, {.source = "manifests", .file = "renamed.yaml"});
  REQUIRE(plan.action == ApplyAction::Update);
  CHECK(owner_of(plan.object)->file == "renamed.yaml");
  auto expected = live;
  expected.meta.annotations["banger.dev/source"] = "manifests:renamed.yaml";
  CHECK(plan.object == expected);
}

TEST_CASE("an object made through the API is taken over: the manifest wins where it speaks") {
  auto live = created(document(", cpus: 2, kernelArgs: [quiet]"));
  live.meta.annotations.clear();
  auto next = after(document(", cpus: 3"), live);
  CHECK(owner_of(next) == kOwner);
  CHECK(spec(next).cpus == 3);
  CHECK(spec(next).kernel_args == std::vector<std::string>{"quiet"});
}

TEST_CASE("a damaged last-applied annotation is as good as none") {
  auto live = created(document(", cpus: 2"));
  live.meta.annotations["banger.dev/last-applied"] = "{not json";
  auto next = after(document(", memory: 512Mi"), live);
  CHECK(spec(next).cpus == 2);
  CHECK(spec(next).memory == mib(512));
}

TEST_CASE("an object that is being deleted is waited for") {
  auto live = created(document(""));
  live.meta.deletion_time = WallTime{};
  CHECK(plan_apply(document(", cpus: 2"), live, kOwner).action == ApplyAction::Wait);
  CHECK(plan_apply(document(""), live, kOwner).action == ApplyAction::Wait);
}

TEST_CASE("what may not change is refused with its field") {
  auto live = created(document(", disks: [{name: a, size: 2Gi}]"));
  const auto plan = plan_apply(document(", disks: [{name: a, size: 1Gi}]"), live, kOwner);
  CHECK(plan.action == ApplyAction::Refuse);
  REQUIRE_FALSE(plan.refusals.empty());
  CHECK(plan.refusals[0].field == "spec.disks[0].size");
}

}  // namespace
}  // namespace banger::intake
