// SPDX-License-Identifier: Apache-2.0
#include "api/object.hpp"

#include <doctest/doctest.h>

#include <chrono>

#include "api/rows.hpp"

namespace banger::api {
namespace {

using std::chrono::seconds;

TEST_CASE("the kind table stands in the order of Kind and of Body") {
  REQUIRE(kinds().size() == std::variant_size_v<Body>);
  for (std::size_t i = 0; i < kinds().size(); ++i) {
    CHECK(static_cast<std::size_t>(kinds()[i].kind) == i);
    CHECK(schema::new_body(kinds()[i].kind).index() == i);
    CHECK(find_kind(kinds()[i].name) == &kinds()[i]);
  }
}

TEST_CASE("a resource is found by each of its names and by nothing else") {
  for (const auto& row : kinds()) {
    CHECK(find_resource(row.plural) == &row);
    CHECK(find_resource(row.singular) == &row);
    if (!row.short_name.empty()) CHECK(find_resource(row.short_name) == &row);
  }
  CHECK(find_resource("vm") == &info(Kind::VirtualMachine));
  CHECK(find_resource("source") == &info(Kind::ManifestSource));
  CHECK(find_resource("sources") == &info(Kind::ManifestSource));
  CHECK(find_resource("") == nullptr);
  CHECK(find_resource("VirtualMachine") == nullptr);
  CHECK(find_resource("pods") == nullptr);
  CHECK(find_kind("virtualmachine") == nullptr);
  CHECK(find_kind("") == nullptr);
}

TEST_CASE("virtual machines and events have a namespace, the other kinds have none") {
  for (const auto& row : kinds()) {
    CHECK(row.namespaced == (row.kind == Kind::VirtualMachine || row.kind == Kind::Event));
    const bool daemon_only = row.kind == Kind::AddressLease || row.kind == Kind::ManifestSource || row.kind == Kind::Event;
    CHECK(row.user_writable == !daemon_only);
  }
}

TEST_CASE("a key names its object") {
  const Object vm{.meta = {.name = "web", .ns = "default"}, .body = VirtualMachine{}};
  CHECK(key_of(vm) == ObjectKey{.kind = Kind::VirtualMachine, .ns = "default", .name = "web"});
  CHECK(to_string(key_of(vm)) == "VirtualMachine default/web");
  CHECK(to_string({.kind = Kind::Network, .name = "lan"}) == "Network lan");
}

TEST_CASE("a condition's transition time moves with its status only") {
  std::vector<Condition> conditions;
  const WallTime first{seconds{100}};
  const WallTime second{seconds{200}};
  CHECK(find_condition(conditions, "Ready") == nullptr);
  set_condition(conditions, {.type = "Ready", .status = ConditionStatus::False, .reason = "Starting"}, first);
  set_condition(conditions, {.type = "Running", .status = ConditionStatus::True, .reason = "Running"}, first);
  set_condition(conditions, {.type = "Ready", .status = ConditionStatus::False, .reason = "Waiting", .observed_generation = 2},
                second);
  REQUIRE(conditions.size() == 2);
  REQUIRE(find_condition(conditions, "Ready") == conditions.data());
  CHECK(conditions[0].reason == "Waiting");
  CHECK(conditions[0].observed_generation == 2);
  CHECK(conditions[0].last_transition_time == first);
  set_condition(conditions, {.type = "Ready", .status = ConditionStatus::True, .reason = "Ready"}, second);
  CHECK(conditions[0].last_transition_time == second);
  CHECK(conditions[1].last_transition_time == first);
}

TEST_CASE("a condition that never had a time gets one") {
  std::vector<Condition> conditions{{.type = "Ready", .status = ConditionStatus::True, .reason = "Ready"}};
  set_condition(conditions, {.type = "Ready", .status = ConditionStatus::True, .reason = "Ready"}, WallTime{seconds{5}});
  CHECK(conditions[0].last_transition_time == WallTime{seconds{5}});
}

}  // namespace
}  // namespace banger::api
