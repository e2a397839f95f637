// SPDX-License-Identifier: Apache-2.0
// YAML that is written reads back as the JSON it came from.
#include <doctest/doctest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec.hpp"
#include "api/random_object.hpp"
#include "api/tree.hpp"

namespace banger::api {
namespace {

namespace json = boost::json;
using schema::TreeNode;

// The tree as JSON, by the types that YAML gives it.
json::value json_of(const TreeNode& node) {
  switch (node.type) {
    case TreeNode::Type::List: {
      json::array list;
      for (const auto& item : node.items) list.push_back(json_of(item));
      return list;
    }
    case TreeNode::Type::Map: {
      json::object map;
      for (const auto& entry : node.entries) map[entry.key] = json_of(entry.value);
      return map;
    }
    case TreeNode::Type::Text:
      return json::value(node.text);
    case TreeNode::Type::Refused:
      FAIL("refused");
      return nullptr;
    default:
      return json::parse(node.text);
  }
}

json::value read_back(const std::string& yaml) {
  std::vector<Refusal> refusals;
  const auto documents = schema::trees_of_yaml(yaml, refusals);
  CAPTURE(yaml);
  REQUIRE(refusals.empty());
  if (documents.empty()) return nullptr;
  REQUIRE(documents.size() == 1);
  REQUIRE(documents[0].refusals.empty());
  return json_of(documents[0].root);
}

json::value random_value(schema::RandomObjects& random, int depth) {
  switch (random.below(depth > 4 ? 4 : 7)) {
    case 0:
      return json::value(static_cast<std::int64_t>(random.below(0)) >> random.below(64));
    case 1:
      return json::value(random.below(2) == 0);
    case 2:
    case 3:
      return json::value(random.awkward_text());
    case 4:
      return nullptr;
    case 5: {
      json::array list;
      for (auto count = random.below(4); count > 0; --count) list.push_back(random_value(random, depth + 1));
      return list;
    }
    default: {
      json::object map;
      for (auto count = random.below(4); count > 0; --count) map[random.awkward_text()] = random_value(random, depth + 1);
      return map;
    }
  }
}

TEST_CASE("any JSON written as YAML reads back equal") {
  schema::RandomObjects random(4, schema::Values::Anything);
  for (int i = 0; i < 3000; ++i) {
    const auto value = json::value{{"value", random_value(random, 0)}};
    const auto yaml = yaml_of(value);
    CAPTURE(yaml);
    CHECK(json::serialize(read_back(yaml)) == json::serialize(value));
  }
}

TEST_CASE("texts that another reader could take for something else are quoted, others are not") {
  const auto scalar = [](std::string_view text) { return yaml_of(json::value(text)); };
  for (const char* text : {"",           "yes",  "No",  "on",   "NULL", "~",  "1",  "1e3", "0x10", "-1", ".5",  "+1",  "1:30",
                           "2030-01-01", "0644", "- a", "a: b", "a #b", "#a", "&a", "*a",  "!a",   "[a", "{a",  "a,b", "|",
                           ">",          "%a",   "@a",  "`a",   "'a",   " a", "a ", "a:",  "=",    "<<", "---", "é"}) {
    CAPTURE(std::string(text));
    CHECK(scalar(text).starts_with('"'));
  }
  for (const char* text :
       {"web", "256Mi", "a-b", "/a/b", "10.1.2.3/24", "dm-snapshot", "a:b", "a#b", "it's", "ssh-ed25519 AAAA me@host"}) {
    CAPTURE(std::string(text));
    CHECK(scalar(text) == std::string(text) + "\n");
  }
}

TEST_CASE("several lines are written as a block") {
  CHECK(yaml_of(json::parse(R"({"a":"one\ntwo\n","b":["x\n\ny"],"c":"\n","d":" x\ny"})")) ==
        "a: |\n  one\n  two\nb:\n- |-\n  x\n\n  y\nc: \"\\n\"\nd: \" x\\ny\"\n");
}

TEST_CASE("maps and lists nest as people write them") {
  CHECK(yaml_of(json::parse(R"({"a":{"b":[{"c":1,"d":[2,[3]]},{}],"e":[]},"f":{}})")) ==
        "a:\n  b:\n  - c: 1\n    d:\n    - 2\n    - - 3\n  - {}\n  e: []\nf: {}\n");
  CHECK(yaml_of(nullptr) == "null\n");
  CHECK(yaml_of(json::array{}) == "[]\n");
}

}  // namespace
}  // namespace banger::api
