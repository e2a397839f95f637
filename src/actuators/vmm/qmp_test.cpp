// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/qmp.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <functional>
#include <thread>

#include "actuators/vmm/exit_record.hpp"
#include "actuators/vmm/fixture.hpp"
#include "base/unique_fd.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::vmm;

namespace {

const std::string kGreeting =
    R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}})"
    "\r\n";
const std::string kReset =
    R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}})"
    "\r\n";

// Serves one connection: sends text after text, each once something was received or at once, then keeps it open until the client
// goes.
struct Server {
  test::Directory directory;
  std::filesystem::path path = directory.path() / "qmp.sock";
  UniqueFd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::thread thread;
  explicit Server(std::string answer) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.native().size());
    REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener.get(), 4) == 0);
    thread = std::thread([this, answer = std::move(answer)] {
      const UniqueFd client(::accept(listener.get(), nullptr, nullptr));
      if (!client.valid()) return;
      (void)::send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      char buffer[4096];
      while (::recv(client.get(), buffer, sizeof buffer, 0) > 0) {
      }
    });
  }
  ~Server() {
    ::shutdown(listener.get(), SHUT_RDWR);
    thread.join();
  }
};

std::string returned(const std::string& status) {
  return "{\"return\": {}, \"id\": \"hello\"}\r\n{\"return\": {\"status\": \"" + status +
         "\", \"running\": true}, \"id\": \"status\"}\r\n";
}

std::string record(const std::string& fields) { return "{\"pid\":5,\"finished\":1795254917389," + fields + "}"; }

}  // namespace

TEST_CASE("greeting, replies, failures and events are told apart") {
  CHECK(parse_qmp(kGreeting)->version == "7.2.22");
  CHECK(parse_qmp(kGreeting)->kind == QmpMessage::Kind::Greeting);
  CHECK(parse_qmp(kReset)->reason == "guest-reset");
  CHECK(parse_qmp(R"({"return": {"status": "paused"}, "id": "status"})")->status == "paused");
  CHECK(parse_qmp(R"({"error": {"class": "CommandNotFound", "desc": "no"}})")->error == "no");
  CHECK(parse_qmp("{}")->kind == QmpMessage::Kind::Other);
}

TEST_CASE("what is not QMP is nothing, or says nothing") {
  for (const std::string text : {"", "[]", "\"x\"", "{", "{\"return\":", "\xff\xfe", "nul", "{\"a\":1}{\"b\":2}"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_qmp(text));
  }
  CHECK_FALSE(parse_qmp(std::string(5000, '[')));
  CHECK(parse_qmp(R"({"QMP": 7, "event": 5})")->kind == QmpMessage::Kind::Other);
  CHECK(parse_qmp(R"({"return": [1], "id": 3})")->status.empty());
  CHECK(parse_qmp(R"({"QMP": {"version": {"qemu": {"major": "7"}}}})")->version == "0.0.0");
}

TEST_CASE("a reader cuts lines wherever the bytes are cut, and has an end") {
  QmpReader reader;
  CHECK(reader.add("{\"a\""));
  CHECK_FALSE(reader.next_line());
  CHECK(reader.add(":1}\n{}\nrest"));
  CHECK(reader.next_line() == "{\"a\":1}");
  CHECK(reader.next_line() == "{}");
  CHECK_FALSE(reader.next_line());
  CHECK_FALSE(reader.add(std::string(QmpReader::kLimit, 'x')));
}

TEST_CASE("every run state has a meaning") {
  CHECK(monitor_state("running") == MonitorState::Running);
  CHECK(monitor_state("prelaunch") == MonitorState::Prelaunch);
  CHECK(monitor_state("internal-error") == MonitorState::InternalError);
  CHECK(monitor_state("shutdown") == MonitorState::Shutdown);
  CHECK(monitor_state("io-error") == MonitorState::IoError);
  CHECK(monitor_state("paused") == MonitorState::Paused);
  CHECK(monitor_state("") == MonitorState::Unreachable);
}

TEST_CASE("a monitor is asked, with events between its answers") {
  const Server server(kGreeting + kReset + returned("running"));
  const auto answer = ask_monitor(server.path);
  CHECK(answer.state == MonitorState::Running);
  CHECK(answer.version == "7.2.22");
}

TEST_CASE("a monitor that is silent, refuses, floods or is not there is unreachable in time") {
  const auto begin = std::chrono::steady_clock::now();
  CHECK(ask_monitor(Server("").path).state == MonitorState::Unreachable);
  CHECK(ask_monitor(Server(kGreeting).path).state == MonitorState::Unreachable);
  CHECK(ask_monitor(Server(R"({"error": {"desc": "no"}, "id": "hello"})"
                           "\n")
                        .path)
            .state == MonitorState::Unreachable);
  CHECK(ask_monitor(Server(std::string(QmpReader::kLimit + 1, 'x')).path).state == MonitorState::Unreachable);
  CHECK(ask_monitor("/nonexistent/qmp.sock").state == MonitorState::Unreachable);
  CHECK(ask_monitor("/" + std::string(200, 'x')).state == MonitorState::Unreachable);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
}

TEST_CASE("only a guest that waits at a failed write is told to go on") {
  const std::string resumed = R"({"event": "RESUME"})"
                              "\r\n"
                              R"({"return": {}, "id": "cont"})"
                              "\r\n";
  const std::string refused = R"({"error": {"class": "GenericError", "desc": "not now"}, "id": "cont"})"
                              "\r\n";
  CHECK(resume_guest(Server(kGreeting + returned("io-error") + resumed).path) == true);
  // What answers to cont stands there too: it is not read, since nothing was asked.
  for (const auto* state : {"running", "paused", "internal-error"})
    CHECK(resume_guest(Server(kGreeting + returned(state) + refused).path) == false);
  const auto no = resume_guest(Server(kGreeting + returned("io-error") + refused).path);
  REQUIRE_FALSE(no);
  CHECK(no.error().message == "the VMM refused to let the guest go on: not now");
  for (const auto& silent : {kGreeting, kGreeting + returned("io-error")}) {
    const auto unheard = resume_guest(Server(silent).path);
    REQUIRE_FALSE(unheard);
    CHECK(unheard.error().code == ErrorCode::Unavailable);
  }
  CHECK_FALSE(resume_guest("/nonexistent/qmp.sock"));
}

TEST_CASE("the last shutdown counts, also where the beginning is cut off") {
  CHECK(last_shutdown_reason("uest\": true}}\r\n" + kReset) == "guest-reset");
  CHECK(last_shutdown_reason(kGreeting + "{\"return\": {}}\r\n").empty());
  CHECK(last_shutdown_reason(kReset + R"({"event": "SHUTDOWN", "data": {"reason": "guest-shutdown"}})") == "guest-shutdown");
}

TEST_CASE("an exit is classified by what was left behind") {
  const auto reason = [](const std::string& fields) { return parse_exit_record(record(fields))->reason; };
  const std::string reset = R"("eventsTail":"{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"guest-reset\"}}\u000d\u000a")";
  const std::string off = R"("eventsTail":"{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"guest-shutdown\"}}")";
  CHECK(reason(R"("exitCode":0,"signal":0,)" + reset) == "GuestReboot");
  CHECK(reason(R"("exitCode":0,"signal":0,)" + off) == "GuestShutdown");
  CHECK(reason(R"("exitCode":0,"signal":0)") == "GuestShutdown");
  CHECK(reason(R"("exitCode":0,"signal":9)") == "Killed");
  CHECK(reason(R"("exitCode":0,"signal":11)") == "Crashed");
  CHECK(reason(R"("exitCode":0,"signal":9,"stderrTail":"KVM internal error. Suberror: 1")") == "InternalError");
  CHECK(reason(R"("exitCode":1,"signal":0,"stderrTail":"bad -device")") == "StartFailed");
  CHECK(reason(R"("exitCode":1,"signal":0,"eventsTail":"{\"return\": {}}")") == "Crashed");
  CHECK(reason(R"("exitCode":0,"signal":0,"error":"disk /x is in use by another VMM")") == "StartFailed");
  const auto panic = parse_exit_record(
      record(R"("exitCode":0,"signal":0,"serialTail":"[ 1.0] Kernel panic - not syncing: oops\u000d\u000amore",)" + reset));
  CHECK(panic->reason == "Crashed");
  CHECK(panic->message == "Kernel panic - not syncing: oops");
  CHECK(panic->finished == WallTime(std::chrono::milliseconds(1795254917389)));
}

TEST_CASE("an exit record's message is printable and short, a broken record is an error") {
  const auto exit = parse_exit_record(record(R"("exitCode":1,"signal":0,"stderrTail":"\u001b[2J\u00c3\u00a9 no\u000a")"));
  CHECK(exit->message.find('\x1b') == std::string::npos);
  CHECK(exit->message.find("no") != std::string::npos);
  const auto longer = parse_exit_record(record(R"("exitCode":1,"stderrTail":")" + std::string(9000, 'x') + "\""));
  CHECK(longer->message.size() <= 1024);
  CHECK_FALSE(parse_exit_record(""));
  CHECK_FALSE(parse_exit_record("[]"));
  CHECK_FALSE(parse_exit_record("{\"pid\":"));
  CHECK(parse_exit_record(R"({"exitCode":"x","signal":[],"stderrTail":5})")->reason == "GuestShutdown");
}
