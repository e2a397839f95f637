// SPDX-License-Identifier: Apache-2.0
// bangerctl without a daemon, and against one that answers by a script.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "base/unique_fd.hpp"
#include "cli/rig.hpp"
#include "server/rig.hpp"

using namespace banger;
using namespace banger::cli;

namespace {

// Answers one connection after another with what stands in a list.
class Scripted {
 public:
  Scripted(const std::string& path, std::vector<std::pair<std::string_view, std::string>> script)
      : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof(address.sun_path));
    path.copy(address.sun_path, path.size());
    REQUIRE(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(::listen(listener_.get(), 8) == 0);
    thread_ = std::jthread([this, script = std::move(script)] {
      for (const auto& [status, body] : script) {
        const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        std::string request;
        char byte = 0;
        while (!request.ends_with("\r\n\r\n") && ::read(peer.get(), &byte, 1) == 1) request += byte;
        const auto answer = fmt::format("HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", status,
                                        body.size(), body);
        (void)!::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    });
  }
  Scripted(const Scripted&) = delete;
  Scripted& operator=(const Scripted&) = delete;
  ~Scripted() { ::shutdown(listener_.get(), SHUT_RDWR); }  // a program that came less often than expected leaves accept() waiting

 private:
  UniqueFd listener_;
  std::jthread thread_;
};

}  // namespace

TEST_CASE("without a daemon every verb says how to start one, and exits with 3") {
  const server::TempDir dir;
  const auto socket = dir.file("none.sock");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"get", "vm"},
                                                    {"describe", "vm", "web"},
                                                    {"delete", "vm", "web"},
                                                    {"start", "web"},
                                                    {"logs", "web"},
                                                    {"ssh", "web"},
                                                    {"events"},
                                                    {"get", "sources"},
                                                    {"sources", "confirm"},
                                                    {"wait", "--for=delete", "vm/web"},
                                                    {"get", "vm", "-w"}}) {
    const auto said = run_program(BANGERCTL, {arguments, "", {"BANGER_SOCKET=" + socket}, ""});
    CAPTURE(arguments.front());
    CHECK(said.exit_code == 3);
    CHECK(said.out.empty());
    CHECK(said.err ==
          fmt::format("bangerctl: bangerd is not running (no answer on {}); start it with: bangerd --manifests DIR\n", socket));
  }
  const auto version = run_program(BANGERCTL, {{"-s", socket, "version"}, "", {}, ""});
  CHECK(version.exit_code == 3);
  CHECK(version.out == "bangerctl 0.1.0\n");
}

TEST_CASE("a wrong command line exits with 2 and says what was expected") {
  struct Case {
    std::vector<std::string> arguments;
    std::string says;
  };
  const Case cases[] = {
      {{}, "see: bangerctl --help"},
      {{"gett", "vm"}, "there is no verb \"gett\"; did you mean \"get\"?"},
      {{"get", "virtualmachin"}, "there is no kind \"virtualmachin\"; did you mean \"virtualmachine\"?"},
      {{"get", "vm/"}, "expected KIND/NAME"},
      {{"get", "vm", "vm/web"}, "not both"},
      {{"get", "vm", "-o", "xml"}, "see: bangerctl get --help"},
      {{"describe"}, "see: bangerctl describe --help"},
      {{"delete", "vm"}, "which virtualmachine? say: bangerctl delete vm NAME"},
      {{"wait", "vm/web", "--for=ready"}, "expected condition=TYPE"},
      {{"wait", "vm/web", "--for=delete", "--timeout", "5"}, "is not a duration"},
      {{"apply"}, "see: bangerctl apply --help"},
      {{"sources"}, "see: bangerctl sources --help"},
      {{}, "a verb is required"},
      {{"-n", "B@d", "get", "vm"}, "-n: must be at most 63 of the characters a-z, 0-9 and '-', "},
      {{"get", "xyzzy"}, "there are: networks (net), kernels, images (img), virtualmachines (vm), addressleases (lease), "},
      {{"wait", "--for=condition=Ready=yes", "vm/web"}, "--for=condition=Ready=yes: expected condition=TYPE, "},
      {{"apply", "-f", ""}, "-f wants a file, a directory or -, is empty"},
      {{"get", "vm", "--frobnicate"}, "see: bangerctl get --help"},
      {{"get", "vm", "web", "-l", "app=web"}, "name objects, or select them by -l, not both"},
      {{"get", "sources", "-l", "a=b"}, "get sources has no -l"},
      {{"stop", "net/lan"}, "\"net/lan\": expected the name of a virtual machine, for instance web or vm/web"},
      {{"logs", "vm/"}, "\"vm/\": expected the name of a virtual machine"},
  };
  for (const auto& one : cases) {
    const auto said = run_program(BANGERCTL, {one.arguments, "", {"BANGER_SOCKET=/nonexistent/socket"}, ""});
    CAPTURE(one.says);
    CAPTURE(said.err);
    CHECK(said.exit_code == 2);
    CHECK(said.out.empty());
    CHECK(said.err.find(one.says) != std::string::npos);
    CHECK(said.err.find('\n') == said.err.size() - 1);
  }
}

TEST_CASE("help lists the verbs and the exit codes") {
  const auto help = run_program(BANGERCTL, {{"--help"}, "", {}, ""});
  CHECK(help.exit_code == 0);
  for (const auto* verb : {"apply", "get", "describe", "delete", "wait", "start", "stop", "restart", "ssh", "logs", "events",
                           "sources", "version"}) {
    CHECK(help.out.find(fmt::format("\n  {} ", verb)) != std::string::npos);
    CHECK(run_program(BANGERCTL, {{verb, "--help"}, "", {}, ""}).exit_code == 0);
  }
  CHECK(help.out.find("Exit codes: 0 done; 1 ") != std::string::npos);
}

TEST_CASE("events -w goes on when the revision it had reached is gone, and tells what happened meanwhile") {
  const server::TempDir dir;
  const auto event = [](int revision, std::string_view message) {
    return fmt::format(R"({{"cells":["1s","Normal","R","vm/web",1,"{}"],"object":{{"metadata":{{"resourceVersion":"{}"}}}}}})",
                       message, revision);
  };
  const auto table = [&](int revision, const std::string& rows) {
    return fmt::format(
        R"({{"kind":"Table","metadata":{{"resourceVersion":"{}"}},"columnDefinitions":[{{"name":"Last Seen"}},{{"name":"Type"}},)"
        R"({{"name":"Reason"}},{{"name":"Object"}},{{"name":"Count"}},{{"name":"Message"}}],"rows":[{}]}})",
        revision, rows);
  };
  const std::vector<std::pair<std::string_view, std::string>> script{
      {"200 OK", table(5, event(5, "first"))},
      {"410 Gone", R"({"kind":"Status","code":410,"reason":"Expired","message":"the revision is gone"})"},
      {"200 OK", table(9, event(5, "first") + "," + event(8, "meanwhile"))},
      {"410 Gone", R"({"kind":"Status","code":410,"reason":"Expired","message":"the revision is gone"})"},
      {"200 OK", table(11, event(8, "meanwhile") + "," + event(11, "last"))}};
  Scripted daemon(dir.file("s"), script);
  const auto said = run_program(BANGERCTL, {{"events", "-w"}, "", {"BANGER_SOCKET=" + dir.file("s")}, " last"});
  CHECK(said.exit_code == -15);
  CHECK(said.err.empty());
  for (const auto* message : {" first", " meanwhile", " last"}) {
    const auto place = said.out.find(message);
    CHECK(place != std::string::npos);
    CHECK(said.out.find(message, place + 1) == std::string::npos);
  }
}
