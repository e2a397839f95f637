// SPDX-License-Identifier: Apache-2.0
#include "actuators/record.hpp"

#include <doctest/doctest.h>

namespace banger::actuators {
namespace {

constexpr auto kUid = "0b6e7a52-6c1f-4f0e-9d0a-3f1f6f4f2a11";

api::Object network() {
  api::Network body;
  body.spec.mtu = 1400;
  body.status = {.observed_generation = 3,
                 .conditions = {{.type = "Ready", .status = api::ConditionStatus::True, .reason = "Ready"}},
                 .cidr = "10.63.4.0/24",
                 .gateway = "10.63.4.1",
                 .bridge = "bgbabcdefghij",
                 .mtu = 1400,
                 .nameservers = {"192.0.2.1"}};
  api::Object object{.body = body};
  object.meta = {.name = "lan",
                 .uid = kUid,
                 .resource_version = 41,
                 .generation = 3,
                 .creation_time = WallTime{std::chrono::seconds{1'800'000'000}},
                 .deletion_time = WallTime{std::chrono::seconds{1'800'000'100}},
                 .labels = {{"a", "b"}},
                 .annotations = {{"banger.dev/source", "manifests:lan.yaml"}},
                 .finalizers = {"banger.dev/teardown"}};
  return object;
}

TEST_CASE("a record keeps what was wanted, chosen and made, and comes back as it was written") {
  const auto record = record_of(network());
  const auto& status = std::get<api::Network>(record.body).status;
  CHECK(record.meta == network().meta);
  CHECK(std::get<api::Network>(record.body).spec == std::get<api::Network>(network().body).spec);
  CHECK(status == api::NetworkStatus{.cidr = "10.63.4.0/24", .gateway = "10.63.4.1", .bridge = "bgbabcdefghij"});
  const auto read = decode_record(encode_record(record));
  REQUIRE(read);
  CHECK(*read == record);

  api::Object image{.meta = network().meta, .body = api::Image{}};
  std::get<api::Image>(image.body).status = {.conditions = {{.type = "Ready", .reason = "Ready"}},
                                             .digest = "sha256:00",
                                             .path = "/s/base.ext4",
                                             .format = "tar",
                                             .size = mib(64),
                                             .source = "1:2:3"};
  const auto kept = decode_record(encode_record(record_of(image)));
  REQUIRE(kept);
  CHECK(std::get<api::Image>(kept->body).status.source == "1:2:3");
  CHECK(std::get<api::Image>(kept->body).status.size == mib(64));
  CHECK(std::get<api::Image>(kept->body).status.conditions.empty());
}

TEST_CASE("a record is good until something changes that it keeps") {
  const auto record = record_of(network());
  auto object = network();
  object.meta.resource_version = 99;
  std::get<api::Network>(object.body).status.conditions.clear();
  CHECK(is_record_of(record, object));
  for (const auto& change : std::vector<void (*)(api::Object&)>{
           [](api::Object& o) { o.meta.labels["a"] = "c"; },
           [](api::Object& o) { o.meta.annotations.clear(); },
           [](api::Object& o) { o.meta.finalizers.clear(); },
           [](api::Object& o) { o.meta.deletion_time.reset(); },
           [](api::Object& o) { ++o.meta.generation; },
           [](api::Object& o) { std::get<api::Network>(o.body).spec.mtu = 1500; },
           [](api::Object& o) { std::get<api::Network>(o.body).status.cidr = "10.63.5.0/24"; },
       }) {
    auto changed = network();
    change(changed);
    CHECK_FALSE(is_record_of(record, changed));
  }
}

TEST_CASE("what is no record of ours is refused with a sentence") {
  const auto good = encode_record(record_of(network()));
  const auto without = [&](const std::string& what, const std::string& instead) {
    auto text = good;
    const auto at = text.find(what);
    REQUIRE(at != std::string::npos);
    return text.replace(at, what.size(), instead);
  };
  struct Case {
    std::string text;
    std::string says;
  };
  for (const auto& [text, says] : std::vector<Case>{
           {"", "object.json cannot be read"},
           {good.substr(0, good.size() / 2), "object.json cannot be read"},
           {"[]", "object.json cannot be read"},
           {std::string(64, '\0'), "object.json cannot be read"},
           {without("\"kind\":\"Network\"", "\"kind\":\"AddressLease\""), "of kind AddressLease"},
           {without(kUid, "../../../etc"), "no valid uid, but \"../../../etc\""},
           {without("\"name\":\"lan\",", ""), "no name"},
       }) {
    const auto read = decode_record(text);
    REQUIRE_FALSE(read);
    CAPTURE(read.error().message);
    CHECK(read.error().code == ErrorCode::Invalid);
    CHECK(read.error().message.find(says) != std::string::npos);
  }
}

}  // namespace
}  // namespace banger::actuators
