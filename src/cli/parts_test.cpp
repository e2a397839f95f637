// SPDX-License-Identifier: Apache-2.0
// The parts of bangerctl that need no process.
#include <doctest/doctest.h>

#include <boost/json.hpp>

#include "api/codec.hpp"
#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/line_cleaner.hpp"
#include "cli/ssh.hpp"

using namespace banger;
using namespace banger::cli;
namespace json = boost::json;

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
