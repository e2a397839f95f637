// SPDX-License-Identifier: Apache-2.0
#include "server/selector.hpp"

#include <doctest/doctest.h>

using namespace banger;
using namespace banger::server;

namespace {

using Labels = std::map<std::string, std::string>;

bool matches(std::string_view selector, const Labels& labels) {
  const auto parsed = LabelSelector::parse(selector);
  REQUIRE_MESSAGE(parsed, selector);
  return parsed->matches(labels);
}

api::Object event_about(std::string name) {
  api::Event event{
      .involved = {api::Kind::VirtualMachine, "default", std::move(name)}, .involved_uid = "u1", .reason = "Started"};
  return {.meta = {.name = "e1", .ns = "default"}, .body = event};
}

}  // namespace

TEST_CASE("label selectors follow the grammar of Kubernetes") {
  const Labels labels{{"app", "web"}, {"tier", "front"}, {"size", "7"}};
  for (const auto* yes : {"", "app", "app=web", "app==web", "app = web", "app!=db", "app in (web,db)", "app in ( web , db )",
                          "app notin (db)", "!old", "old!=x", "old notin (x)", "size>6", "size<8", "app=web,tier=front,!old"}) {
    CAPTURE(yes);
    CHECK(matches(yes, labels));
  }
  for (const auto* no : {"old", "app=db", "app!=web", "app in (db)", "app notin (web,db)", "!app", "size>7", "size<7", "app>3",
                         "app=web,tier=back"}) {
    CAPTURE(no);
    CHECK_FALSE(matches(no, labels));
  }
}

TEST_CASE("a wrong label selector is refused with the requirement that is wrong") {
  for (const auto* text : {"=web", "app in web)", "app inn (a)", "size>big", "a b", "app=we b", ",", "app=\x1b[2J"}) {
    CAPTURE(text);
    const auto parsed = LabelSelector::parse(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::Invalid);
    CHECK(parsed.error().message.find("unable to parse requirement") == 0);
    CHECK(parsed.error().message.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("field selectors look at names everywhere and at the involved object of events") {
  const auto event = event_about("web");
  const auto check = [&](std::string_view text) {
    const auto parsed = FieldSelector::parse(text, api::Kind::Event);
    REQUIRE_MESSAGE(parsed, text);
    return parsed->matches(event);
  };
  CHECK(check("metadata.name=e1,metadata.namespace==default"));
  CHECK(check("involvedObject.kind=VirtualMachine,involvedObject.name=web,involvedObject.uid=u1"));
  CHECK(check("reason!=Stopped,type=Normal"));
  CHECK_FALSE(check("involvedObject.name=db"));
  CHECK_FALSE(check("type=Warning"));
}

TEST_CASE("a field that cannot be selected by is named") {
  const auto parsed = FieldSelector::parse("spec.cpus=1", api::Kind::VirtualMachine);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().message == "field label not supported: spec.cpus");
  CHECK_FALSE(FieldSelector::parse("involvedObject.name=web", api::Kind::VirtualMachine));
  CHECK_FALSE(FieldSelector::parse("metadata.name", api::Kind::VirtualMachine));
}
