// SPDX-License-Identifier: Apache-2.0
// The parts of bangerctl that need no process.
#include <doctest/doctest.h>

#include <boost/json.hpp>

#include "api/codec.hpp"
#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/line_cleaner.hpp"
#include "cli/ssh.hpp"
#include "cli/three_way.hpp"

using namespace banger;
using namespace banger::cli;
namespace json = boost::json;

namespace {

std::string patch(std::string_view last, std::string_view next, std::string_view live) {
  return json::serialize(three_way_patch(json::parse(last), json::parse(next), json::parse(live)));
}

}  // namespace

TEST_CASE("a three-way patch sets what differs, removes what was dropped, and leaves the rest") {
  CHECK(patch("null", R"({"a":1})", R"({"a":1,"b":2})") == "{}");
  CHECK(patch("null", R"({"a":2})", R"({"a":1,"b":2})") == R"({"a":2})");
  CHECK(patch(R"({"a":1,"b":2})", R"({"a":1})", R"({"a":1,"b":3,"c":4})") == R"({"b":null})");
  CHECK(patch(R"({"b":2})", R"({})", R"({"a":1})") == "{}");
  CHECK(patch(R"({"m":{"x":1,"y":2}})", R"({"m":{"x":5}})", R"({"m":{"x":1,"y":2,"z":3}})") == R"({"m":{"y":null,"x":5}})");
  CHECK(patch("null", R"({"l":[1,2]})", R"({"l":[1]})") == R"({"l":[1,2]})");
  CHECK(patch("null", R"({"m":{}})", R"({"m":7})") == R"({"m":{}})");
}

TEST_CASE("merging a three-way patch gives what the manifest says") {
  auto live = json::parse(R"({"spec":{"a":1,"b":{"c":[1],"d":2},"theirs":true}})");
  const auto last = json::parse(R"({"spec":{"a":1,"b":{"c":[1],"d":2}}})");
  const auto next = json::parse(R"({"spec":{"b":{"c":[2,3]},"e":"x"}})");
  api::merge_patch(live, three_way_patch(last, next, live));
  CHECK(live == json::parse(R"({"spec":{"b":{"c":[2,3]},"theirs":true,"e":"x"}})"));
}

TEST_CASE("durations are those of Go, without fractions") {
  using std::chrono::milliseconds;
  CHECK(*parse_duration("0") == milliseconds(0));
  CHECK(*parse_duration("250ms") == milliseconds(250));
  CHECK(*parse_duration("1h30m5s") == milliseconds(5'405'000));
  for (const auto* wrong : {"", "5", "s", "1x", "-1s", "1.5s", "1s5", "99999999999999999999s"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_duration(wrong));
  }
}

TEST_CASE("kinds are found by any of their names") {
  for (const auto* word : {"vm", "VM", "vms", "virtualmachine", "VirtualMachines"}) {
    const auto kind = find_kind(word);
    REQUIRE(kind);
    CHECK((*kind)->kind == api::Kind::VirtualMachine);
  }
  CHECK((*find_kind("sources"))->kind == api::Kind::ManifestSource);
  CHECK((*find_kind("lease"))->kind == api::Kind::AddressLease);
  CHECK_FALSE(find_kind(""));
}

TEST_CASE("lines that come in pieces are cleaned when they are whole") {
  LineCleaner cleaner;
  CHECK(cleaner.clean("ab").empty());
  CHECK(cleaner.clean("c\r\nd\x07") == "abc\n");
  CHECK(cleaner.clean("\nx") == "d\\x07\n");
  CHECK(cleaner.finish() == "x\n");
  CHECK(cleaner.finish().empty());
  CHECK(cleaner.clean(std::string(70'000, 'y')).size() == 70'001);
}

TEST_CASE("printed JSON keeps its meaning and cannot move a cursor") {
  const auto document =
      json::parse("{\"a\":\"x\\u001b[2J\\u009b\\u202e\\n\",\"b\":[1,{\"c\":null}],\"d\":{},\"e\":\"\xc3\xa9\"}");
  const auto text = pretty_json(document);
  CHECK(json::parse(text) == document);
  CHECK(text.find("\\u001b[2J\\u009b\\u202e\\n") != std::string::npos);
  CHECK(text.find("\xc3\xa9") != std::string::npos);
  CHECK(text.find("  \"b\": [\n    1,\n") != std::string::npos);
}

TEST_CASE("a status.ssh that could be taken for options is not used") {
  api::VirtualMachine vm;
  vm.spec.ssh.emplace();
  vm.status.phase = "Running";
  const api::SshStatus good{.user = "root", .address = "10.0.0.2", .port = 22, .identity_file = "/k", .known_hosts_file = "/h%h"};
  const auto arguments = [&](const api::SshStatus& ssh) {
    vm.status.ssh = ssh;
    return ssh_arguments({.meta = {.name = "web", .ns = "default"}, .body = vm}, {});
  };
  REQUIRE(arguments(good));
  CHECK(arguments(good)->at(4) == "UserKnownHostsFile=\"/h%%h\"");
  CHECK(arguments(good)->back() == "root@10.0.0.2");
  for (const auto& change : std::vector<std::function<void(api::SshStatus&)>>{
           [](auto& s) { s.user = "-oProxyCommand=x"; }, [](auto& s) { s.user = ""; }, [](auto& s) { s.address = "host"; },
           [](auto& s) { s.address = "-x"; }, [](auto& s) { s.identity_file = "k"; },
           [](auto& s) { s.known_hosts_file = "/a\"b"; }, [](auto& s) { s.port = 0; }}) {
    auto bad = good;
    change(bad);
    CHECK_FALSE(arguments(bad));
  }
  vm.spec.ssh.reset();
  CHECK(arguments(good).error().message.find("has no spec.ssh") != std::string::npos);
}
