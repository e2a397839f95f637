// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "server/rig.hpp"

using namespace banger;
using namespace banger::server;

namespace {

struct Served : Rig {
  std::unique_ptr<Server> server;

  void up() {
    server = std::make_unique<Server>(options, objects, hooks, clock);
    const auto started = server->start();
    REQUIRE_MESSAGE(started, (started ? "" : started.error().message));
  }
  Wire wire() {
    Wire connection(options.socket_path);
    REQUIRE(connection.connected());
    return connection;
  }
};

bool starts_with_status(std::string_view response, int status) {
  return response.starts_with(fmt::format("HTTP/1.1 {} ", status));
}
std::string body_of(const std::string& response) { return response.substr(response.find("\r\n\r\n") + 4); }
std::string watch_request() { return raw_request("GET", std::string(kVms) + "?watch=true"); }

}  // namespace

TEST_CASE("one connection serves one request after another") {
  Served rig;
  rig.up();
  auto wire = rig.wire();
  for (int i = 0; i < 3; ++i) {
    REQUIRE(wire.send(raw_request("POST", kVms, "", vm_json(fmt::format("vm{}", i)))));
    CHECK(starts_with_status(wire.read_response(), 201));
  }
  REQUIRE(wire.send(raw_request("GET", kVms)));
  const auto list = wire.read_response();
  CHECK(starts_with_status(list, 200));
  CHECK(at(body_of(list), "items.2.metadata.name") == "vm2");
  REQUIRE(wire.send(raw_request("GET", "/livez", "Connection: close\r\n")));
  CHECK(wire.read_response().ends_with("ok\n"));
  CHECK(wire.closed_by_peer());
}

TEST_CASE("pipelined requests are answered in order, and HEAD without a body") {
  Served rig;
  rig.up();
  auto wire = rig.wire();
  REQUIRE(wire.send(raw_request("GET", "/livez") + raw_request("GET", "/version")));
  CHECK(wire.read_response().ends_with("ok\n"));
  CHECK(wire.read_response().find("gitVersion") != std::string::npos);
  REQUIRE(wire.send(raw_request("HEAD", "/livez", "Connection: close\r\n")));
  const auto head = wire.read_all();
  CHECK(starts_with_status(head, 405));
  CHECK(head.ends_with("\r\n\r\n"));
}

TEST_CASE("a watch is sent in chunks as things happen, and ends with its last chunk") {
  Served rig;
  rig.up();
  rig.put_vm("a");
  auto wire = rig.wire();
  REQUIRE(wire.send(raw_request("GET", std::string(kVms) + "?watch=true&timeoutSeconds=1")));
  const auto head = wire.read_until("\r\n\r\n");
  CHECK(head.find("Transfer-Encoding: chunked") != std::string::npos);
  CHECK(wire.read_until("\n\r\n").find(R"("type":"ADDED")") != std::string::npos);
  rig.put_vm("b");
  CHECK(wire.read_until("\n\r\n").find(R"("name":"b")") != std::string::npos);
  CHECK(wire.read_all().ends_with("0\r\n\r\n"));
}

TEST_CASE("many watchers each see every change in order") {
  Served rig;
  rig.up();
  constexpr int kWatchers = 50;
  constexpr int kChanges = 20;
  std::vector<Wire> wires;
  for (int i = 0; i < kWatchers; ++i) {
    wires.push_back(rig.wire());
    REQUIRE(wires.back().send(watch_request()));
    wires.back().read_until("\r\n\r\n");
  }
  for (int i = 0; i < kChanges; ++i) rig.put_vm(fmt::format("vm{}", i));
  for (auto& wire : wires) {
    const auto text = wire.read_until(fmt::format(R"("name":"vm{}")", kChanges - 1));
    std::size_t place = 0;
    for (int i = 0; i < kChanges; ++i) {
      place = text.find(fmt::format(R"("name":"vm{}")", i), place);
      CHECK(place != std::string::npos);
    }
  }
}

TEST_CASE("watches beyond the limit get 429 and free their place when their client goes") {
  Served rig;
  rig.options.max_streams = 2;
  rig.up();
  auto first = rig.wire();
  {
    auto second = rig.wire();
    REQUIRE(first.send(watch_request()));
    REQUIRE(second.send(watch_request()));
    first.read_until("\r\n\r\n");
    second.read_until("\r\n\r\n");
    auto third = rig.wire();
    REQUIRE(third.send(watch_request()));
    const auto refused = third.read_all();
    CHECK(starts_with_status(refused, 429));
    CHECK(refused.find("Retry-After: 1") != std::string::npos);
  }
  std::string answer;
  for (int i = 0; i < 500 && !starts_with_status(answer, 200); ++i) {  // the server has to notice first
    auto again = rig.wire();
    REQUIRE(again.send(watch_request()));
    answer = again.read_until("\r\n\r\n");
  }
  CHECK(starts_with_status(answer, 200));
}

TEST_CASE("a client that does not read is cut off and holds up nobody") {
  Served rig;
  rig.options.write_timeout = std::chrono::milliseconds(200);
  rig.up();
  auto lazy = rig.wire();
  REQUIRE(lazy.send(watch_request()));
  lazy.read_until("\r\n\r\n");
  const std::string big(200'000, 'x');
  for (int i = 0; i < 20; ++i) rig.put_vm(fmt::format("vm{}", i), fmt::format(R"("annotations":{{"big":"{}"}})", big));
  auto other = rig.wire();
  REQUIRE(other.send(raw_request("GET", "/livez")));
  CHECK(other.read_response().ends_with("ok\n"));
  CHECK(lazy.hung_up());
  const auto text = lazy.read_all();
  CHECK_FALSE(text.ends_with("0\r\n\r\n"));
  CHECK(text.size() < 20 * big.size());
}

TEST_CASE("what is not HTTP gets a 400 Status and the connection is closed") {
  Served rig;
  rig.up();
  for (const auto* bytes :
       {"hello\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9\r\n\r\n", "G@T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    CAPTURE(bytes);
    auto wire = rig.wire();
    REQUIRE(wire.send(bytes));
    const auto answer = wire.read_all();
    CHECK(starts_with_status(answer, 400));
    CHECK(at(body_of(answer), "reason") == "BadRequest");
  }
}

TEST_CASE("a body over the limit is 413, announced or not") {
  Served rig;
  rig.options.body_limit = 1000;
  rig.up();
  auto wire = rig.wire();
  REQUIRE(wire.send(raw_request("POST", kVms, "Content-Length: 1001\r\n")));
  const auto announced = wire.read_all();
  CHECK(starts_with_status(announced, 413));
  CHECK(at(body_of(announced), "reason") == "RequestEntityTooLarge");
  auto chunked = rig.wire();
  chunked.send(raw_request("POST", kVms, "Transfer-Encoding: chunked\r\n") + "7d0\r\n" + std::string(2000, ' ') + "\r\n");
  CHECK(starts_with_status(chunked.read_all(), 413));
}

TEST_CASE("a flood of headers is 431") {
  Served rig;
  rig.up();
  auto wire = rig.wire();
  std::string headers;
  for (int i = 0; i < 3000; ++i) headers += fmt::format("X-{}: {}\r\n", i, std::string(30, 'x'));
  wire.send(raw_request("GET", "/livez", headers));
  CHECK(starts_with_status(wire.read_all(), 431));
  auto endless = rig.wire();
  endless.send("GET /" + std::string(300'000, 'a'));
  CHECK(starts_with_status(endless.read_all(), 431));
}

TEST_CASE("Expect: 100-continue is answered before the body is asked for") {
  Served rig;
  rig.up();
  auto wire = rig.wire();
  const auto body = vm_json("web");
  REQUIRE(wire.send(raw_request("POST", kVms, fmt::format("Expect: 100-continue\r\nContent-Length: {}\r\n", body.size()))));
  CHECK(wire.read_until("\r\n\r\n").starts_with("HTTP/1.1 100"));
  REQUIRE(wire.send(body));
  CHECK(starts_with_status(wire.read_response(), 201));
}

TEST_CASE("clients that stop in the middle are dropped after the idle timeout, others are served meanwhile") {
  Served rig;
  rig.options.idle_timeout = std::chrono::milliseconds(100);
  rig.up();
  auto silent = rig.wire();
  auto half = rig.wire();
  REQUIRE(half.send("GET /livez HT"));
  auto body = rig.wire();
  REQUIRE(body.send(raw_request("POST", kVms, "Content-Length: 50\r\n") + "{"));
  auto other = rig.wire();
  REQUIRE(other.send(raw_request("GET", "/livez")));
  CHECK(other.read_response().ends_with("ok\n"));
  CHECK(silent.closed_by_peer());
  CHECK(half.closed_by_peer());
  CHECK(body.closed_by_peer());
}

TEST_CASE("a client that closes its half still gets its answer") {
  Served rig;
  rig.up();
  auto wire = rig.wire();
  REQUIRE(wire.send(raw_request("GET", "/livez")));
  wire.half_close();
  CHECK(wire.read_all().ends_with("ok\n"));
}

TEST_CASE("clients at once do not disturb each other") {
  Served rig;
  rig.up();
  std::vector<std::jthread> clients;
  std::atomic<int> good = 0;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      Wire wire(rig.options.socket_path);
      for (int i = 0; i < 25; ++i) {
        wire.send(raw_request("POST", kVms, "", vm_json(fmt::format("vm-{}-{}", c, i))));
        if (starts_with_status(wire.read_response(), 201)) ++good;
        wire.send(raw_request("GET", fmt::format("{}/vm-{}-{}", kVms, c, i)));
        if (starts_with_status(wire.read_response(), 200)) ++good;
      }
    });
  }
  clients.clear();
  CHECK(good == 8 * 25 * 2);
  CHECK(rig.store->list({})->objects.size() == 200);
}

TEST_CASE("a serial log is followed over the socket") {
  Served rig;
  const auto path = rig.dir.file("serial.log");
  rig.hooks.serial_log_path = [&](const api::Object&) -> Result<std::string> { return path; };
  rig.up();
  rig.put_vm("web");
  std::ofstream(path) << "booting\n";
  auto wire = rig.wire();
  REQUIRE(wire.send(raw_request("GET", std::string(kVms) + "/web/log?follow=true")));
  CHECK(wire.read_until("booting\n").find("text/plain") != std::string::npos);
  std::filesystem::rename(path, path + ".1");
  std::ofstream(path) << "rotated\n";
  CHECK(wire.read_until("rotated\n").find("rotated") != std::string::npos);
}

TEST_CASE("stop ends watches and idle connections and takes the socket file away") {
  Served rig;
  rig.up();
  auto watcher = rig.wire();
  REQUIRE(watcher.send(watch_request()));
  watcher.read_until("\r\n\r\n");
  auto idle = rig.wire();
  rig.server->stop();
  CHECK(watcher.closed_by_peer());
  CHECK(idle.closed_by_peer());
  CHECK_FALSE(std::filesystem::exists(rig.options.socket_path));
  rig.server->stop();
}

TEST_CASE("a stale socket file is replaced, a live one is not") {
  Served rig;
  rig.up();
  Server second(rig.options, rig.objects, rig.hooks);
  const auto refused = second.start();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::Busy);
  CHECK(refused.error().message.find("another bangerd serves " + rig.options.socket_path) == 0);
  CHECK(rig.wire().send(raw_request("GET", "/livez")));
  rig.server->stop();
  {  // as a daemon that was killed leaves it behind
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, rig.options.socket_path.c_str(), rig.options.socket_path.size());
    REQUIRE(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  REQUIRE(std::filesystem::exists(rig.options.socket_path));
  CHECK_FALSE(Wire(rig.options.socket_path).connected());
  rig.up();
  CHECK(rig.wire().connected());
}

TEST_CASE("the socket file has its mode, and what is no socket is left alone") {
  Served rig;
  rig.up();
  struct stat info{};
  REQUIRE(::stat(rig.options.socket_path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0660U);
  Served other;
  std::ofstream(other.options.socket_path) << "precious";
  Server server(other.options, other.objects, other.hooks);
  const auto refused = server.start();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("is not a socket") != std::string::npos);
  CHECK(std::filesystem::file_size(other.options.socket_path) == 8);
  other.options.socket_path = other.dir.file(std::string(120, 'x'));
  Server unnamed(other.options, other.objects, other.hooks);
  CHECK(unnamed.start().error().message.find("it must have 1 to 107") != std::string::npos);
}

namespace {

// What somebody with these ids reads in answer to GET /livez.
std::string answer_for(const std::string& socket, uid_t uid, gid_t gid, std::vector<gid_t> groups) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const auto child = ::fork();
  if (child == 0) {
    if (::setgroups(groups.size(), groups.data()) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0) ::_exit(2);
    Wire wire(socket);
    if (!wire.connected()) ::_exit(3);
    wire.send(raw_request("GET", "/livez", "Connection: close\r\n"));
    const auto text = wire.read_all();
    [[maybe_unused]] const auto written = ::write(ends[1], text.data(), text.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char block[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], block, sizeof(block))) > 0;) text.append(block, static_cast<std::size_t>(got));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  return text;
}

}  // namespace

TEST_CASE("only root, the daemon's user and members of its group are let in") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root to become other users");
    return;
  }
  Served rig;
  rig.options.socket_mode = 0666;
  rig.options.group = 61234;
  REQUIRE(::chmod(rig.dir.path().c_str(), 0755) == 0);
  rig.up();
  const auto& socket = rig.options.socket_path;
  const auto stranger = answer_for(socket, 65534, 65534, {});
  CHECK(starts_with_status(stranger, 403));
  CHECK(at(body_of(stranger), "reason") == "Forbidden");
  CHECK(at(body_of(stranger), "message") ==
        "user 65534 may not use this bangerd; it serves root and members of group 61234 only");
  CHECK(starts_with_status(answer_for(socket, 65534, 61234, {}), 200));
  CHECK(starts_with_status(answer_for(socket, 65534, 65534, {61000, 61234}), 200));
  CHECK(starts_with_status(answer_for(socket, 0, 0, {}), 200));
}
