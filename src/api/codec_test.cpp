// SPDX-License-Identifier: Apache-2.0
#include "api/codec.hpp"

#include <doctest/doctest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/random_object.hpp"
#include "api/rows.hpp"
#include "api/tree.hpp"

namespace banger::api {
namespace {

namespace json = boost::json;

constexpr std::string_view kVm =
    R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"name":"web"},"spec":{"image":"demo"}})";

std::string messages(const std::vector<Refusal>& refusals) {
  std::string text;
  for (const auto& refusal : refusals) text += to_string(refusal, "") + "\n";
  return text;
}

// Not of a literal, which is a JSON value too.
Decoded<Object> read(std::string_view text) { return decode_object(text); }

std::string messages_for(std::string_view text) { return messages(decode_object(text).refusals); }

TEST_CASE("any object of any kind comes back from the store as it went in") {
  schema::RandomObjects random(1, schema::Values::Anything);
  for (const auto& row : kinds()) {
    for (int i = 0; i < 300; ++i) {
      const auto object = random.object(row.kind);
      const auto text = encode_text(object);
      const auto stored = decode_stored(text);
      CAPTURE(text);
      REQUIRE(stored.has_value());
      REQUIRE(*stored == object);
      REQUIRE(encode_text(*stored) == text);
      REQUIRE(json::serialize(json::parse(text)) == text);
    }
    const Object empty{.meta = {}, .body = schema::new_body(row.kind)};
    CHECK(decode_stored(encode_text(empty)) == empty);
  }
}

TEST_CASE("valid objects pass the API and people's YAML unchanged") {
  schema::RandomObjects random(2, schema::Values::Valid);
  int tried = 0;
  for (const auto& row : kinds()) {
    for (int i = 0; i < 200; ++i) {
      const auto object = random.object(row.kind);
      if (!validate(object, nullptr).empty()) continue;  // a rule between fields
      ++tried;
      const auto text = encode_text(object);
      CAPTURE(text);
      const auto over_api = decode_object(text);
      CHECK(messages(over_api.refusals) == "");
      REQUIRE(over_api.value == object);
      REQUIRE(decode_object(encode(object)).value == object);
      if (!row.user_writable) continue;
      const auto from_yaml = decode_manifest(encode_yaml(object));
      CHECK(messages(from_yaml.refusals) == "");
      REQUIRE(from_yaml.value.size() == 1);
      REQUIRE(from_yaml.value[0].object == object);
    }
  }
  CHECK(tried > 500);
}

TEST_CASE("the envelope stands in the order that people expect, and empty parts are left out") {
  Object object{.meta = {.name = "lan", .uid = "u", .resource_version = 12, .generation = 3}, .body = Network{}};
  object.meta.creation_time = parse_time("2030-01-02T03:04:05.678Z");
  CHECK(encode_text(object) ==
        R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","metadata":{"name":"lan","uid":"u","resourceVersion":"12",)"
        R"("generation":3,"creationTimestamp":"2030-01-02T03:04:05.678Z"},"spec":{"mtu":1500,"nat":"Enabled"}})");
  object.body = AddressLease{.spec = {.network = "lan", .address = "10.0.0.2"}};
  object.meta = {.name = "lan.10.0.0.2"};
  CHECK(encode_text(object) == R"({"apiVersion":"banger.dev/v1alpha1","kind":"AddressLease","metadata":{"name":"lan.10.0.0.2"},)"
                               R"("spec":{"network":"lan","address":"10.0.0.2","interfaceIndex":0}})");
}

TEST_CASE("events have the shape of Kubernetes' own") {
  const Object event{.meta = {.name = "web.1", .ns = "default"},
                     .body = Event{.involved = {.kind = Kind::VirtualMachine, .ns = "default", .name = "web"},
                                   .involved_uid = "u",
                                   .type = EventType::Warning,
                                   .reason = "Crashed",
                                   .message = "exit 1",
                                   .count = 2,
                                   .first_time = parse_time("2030-01-01T00:00:00Z"),
                                   .last_time = parse_time("2030-01-01T00:00:01Z")}};
  CHECK(encode_text(event) ==
        R"({"apiVersion":"banger.dev/v1alpha1","kind":"Event","metadata":{"name":"web.1","namespace":"default"},)"
        R"("involvedObject":{"kind":"VirtualMachine","namespace":"default","name":"web","uid":"u"},)"
        R"("type":"Warning","reason":"Crashed","message":"exit 1","count":2,)"
        R"("firstTimestamp":"2030-01-01T00:00:00Z","lastTimestamp":"2030-01-01T00:00:01Z"})");
}

TEST_CASE("a condition is written as Kubernetes writes it") {
  Network network;
  set_condition(
      network.status.conditions,
      {.type = "Ready", .status = ConditionStatus::False, .reason = "NameConflict", .message = "m", .observed_generation = 4},
      *parse_time("2030-01-01T00:00:00Z"));
  const auto text = encode_text({.meta = {.name = "lan"}, .body = network});
  CHECK(text.find(R"("status":{"conditions":[{"type":"Ready","status":"False","observedGeneration":4,)"
                  R"("lastTransitionTime":"2030-01-01T00:00:00Z","reason":"NameConflict","message":"m"}]})") !=
        std::string::npos);
}

TEST_CASE("bytes that are no text cannot make a stored object unreadable") {
  VirtualMachine vm;
  vm.status.last_termination = TerminationStatus{.message = std::string("guest said \xff\xfe\0!", 14)};
  const auto stored = decode_stored(encode_text({.meta = {.name = "web"}, .body = vm}));
  REQUIRE(stored.has_value());
  CHECK(std::get<VirtualMachine>(stored->body).status.last_termination->message ==
        std::string("guest said \xef\xbf\xbd\xef\xbf\xbd\0!", 18));
}

TEST_CASE("defaults are filled in where a client says nothing, and kept away where it says none") {
  const auto decoded = read(kVm);
  CHECK(messages(decoded.refusals) == "");
  const auto& spec = std::get<VirtualMachine>(decoded.value.body).spec;
  VirtualMachineSpec expected;
  expected.image = "demo";
  expected.network_interfaces = {{}};
  CHECK(spec == expected);
  CHECK(spec.memory == mib(256));
  CHECK(spec.kernel == "host");
  CHECK_FALSE(spec.ssh.has_value());
  CHECK(decoded.value.meta.ns == "default");

  const auto none = read(R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"name":"web"},)"
                         R"("spec":{"image":"demo","networkInterfaces":[],"kernel":null,"ssh":{}}})");
  CHECK(messages(none.refusals) == "");
  const auto& quiet = std::get<VirtualMachine>(none.value.body).spec;
  CHECK(quiet.network_interfaces.empty());
  CHECK(quiet.kernel == "host");
  REQUIRE(quiet.ssh.has_value());
  CHECK(quiet.ssh->user == "root");
  CHECK(quiet.ssh->port == 22);
}

TEST_CASE("a client's metadata and status are read") {
  const auto decoded =
      read(R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","metadata":{"name":"lan","uid":"u","resourceVersion":"7",)"
           R"("finalizers":["a/b"]},"spec":{},"status":{"cidr":"10.0.0.0/24"}})");
  CHECK(messages(decoded.refusals) == "");
  CHECK(decoded.value.meta.resource_version == 7);
  CHECK(decoded.value.meta.finalizers == std::vector<std::string>{"a/b"});
  CHECK(std::get<Network>(decoded.value.body).status.cidr == "10.0.0.0/24");
}

TEST_CASE("refusals of JSON carry field paths and no positions") {
  CHECK(
      messages_for(R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"name":"web","resourceVersion":7},)"
                   R"("spec":{"image":5,"cpus":"2","memory":1.5,"disks":[{"name":"d","size":"1Gi","sise":1}],)"
                   R"("files":[{"path":"/a","mode":420},{"path":"/b","mode":"420"}]}})") ==
      "metadata.resourceVersion: must be a string of decimal digits, is the number 7\n"
      "spec.image: must be a string, is the number 5\n"
      "spec.cpus: must be a whole number, is the text \"2\"; remove the quotes\n"
      "spec.memory: must be a whole number of bytes, is \"1.5\"; a suffix such as Mi or Gi may be missing\n"
      "spec.disks[0].sise: unknown field; did you mean \"size\"?\n"
      "spec.files[1].mode: must be a file mode in octal with a leading zero such as 0644, is the text \"420\"\n");
}

TEST_CASE("duplicate keys of JSON are refused, not dropped") {
  CHECK(messages_for(R"({"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{"name":"web"},)"
                     R"("spec":{"image":"demo","disks":[{"name":"a","name":"b","size":"1Gi"}],"cpus":1,"cpus":2}})") ==
        "spec.disks[0].name: this key stands twice in one object\n"
        "spec.cpus: this key stands twice in one object\n");
}

TEST_CASE("text that is not one JSON object is refused") {
  CHECK(messages_for("") == "is not JSON: incomplete JSON (at byte 0)\n");
  CHECK(messages_for("{} {}") == "is not JSON: extra data (at byte 3)\n");
  CHECK(messages_for("[]") == "a document must be a map, is a list\n");
  CHECK(messages_for("\"x\"") == "a document must be a map, is the text \"x\"\n");
  CHECK(messages_for("{\"a\":\"\xff\"}").starts_with("is not JSON: "));
  const auto deep = messages_for("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}");
  CHECK(deep.starts_with("nested deeper than 32 levels"));
  json::value nested = 1;
  for (int i = 0; i < 40; ++i) nested = json::array{nested};
  CHECK(messages(decode_object(nested).refusals) == "nested deeper than 32 levels\n");
  std::string wide = "[0";
  for (int i = 0; i < 20'001; ++i) wide += ",0";
  CHECK(messages_for(wide + "]").starts_with("holds more than 20000 members"));
}

TEST_CASE("what the store holds is read without judging it, but must be ours") {
  const auto newer = decode_stored(
      R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","color":1,"metadata":{"name":"LAN!","x":{}},"spec":{"mtu":1,"y":2}})");
  REQUIRE(newer.has_value());
  CHECK(newer->meta.name == "LAN!");
  CHECK(std::get<Network>(newer->body).spec.mtu == 1);
  for (const char* text : {"", "{", "[]", "{}", R"({"apiVersion":"banger.dev/v1alpha1","kind":"Pod"})",
                           R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","spec":{"mtu":"x"}})",
                           R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","metadata":{"generation":-1}})"}) {
    CAPTURE(std::string(text));
    const auto stored = decode_stored(text);
    REQUIRE_FALSE(stored.has_value());
    CHECK(stored.error().code == ErrorCode::Internal);
    CHECK(stored.error().message.starts_with("the stored object cannot be read: "));
  }
}

TEST_CASE("a merge patch does what RFC 7386 lists") {
  const std::vector<std::array<const char*, 3>> table{{R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
                                                      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
                                                      {R"({"a":"b"})", R"({"a":null})", R"({})"},
                                                      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
                                                      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
                                                      {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
                                                      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
                                                      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
                                                      {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
                                                      {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
                                                      {R"({"a":"foo"})", R"(null)", R"(null)"},
                                                      {R"({"a":"foo"})", R"("bar")", R"("bar")"},
                                                      {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
                                                      {R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
                                                      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}};
  for (const auto& [target, patch, result] : table) {
    CAPTURE(std::string(patch));
    auto value = json::parse(target);
    merge_patch(value, json::parse(patch));
    CHECK(value == json::parse(result));
  }
}

TEST_CASE("a refusal is written with the parts it has") {
  const Refusal refusal{.line = 7, .column = 9, .field = "spec.cpus", .message = "must be between 1 and 32, is 99"};
  CHECK(to_string(refusal, "web.yaml") == "web.yaml:7:9: spec.cpus: must be between 1 and 32, is 99");
  CHECK(to_string(refusal, "") == "7:9: spec.cpus: must be between 1 and 32, is 99");
  CHECK(to_string({.field = "spec", .message = "m"}, "") == "spec: m");
  CHECK(to_string({.message = "m"}, "a.yaml") == "a.yaml: m");
  CHECK(to_string({.message = "m"}, "") == "m");
}

}  // namespace
}  // namespace banger::api
