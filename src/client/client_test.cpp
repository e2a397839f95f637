// SPDX-License-Identifier: Apache-2.0
#include "client/client.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json.hpp>
#include <cstring>
#include <fstream>
#include <thread>

#include "server/rig.hpp"

using namespace banger;
using namespace banger::client;

namespace {

const api::ObjectKey kWeb{api::Kind::VirtualMachine, "default", "web"};

struct Daemon : server::Rig {
  server::Server server{options, objects, hooks, clock};
  Client client{options.socket_path};
  Daemon() { REQUIRE(server.start()); }
};

// Answers one connection with these bytes, whatever is asked.
class Liar {
 public:
  explicit Liar(std::string answer) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    REQUIRE(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(::listen(fd_.get(), 1) == 0);
    thread_ = std::jthread([this, answer = std::move(answer)] {
      const UniqueFd peer(::accept(fd_.get(), nullptr, nullptr));
      char block[65536];
      [[maybe_unused]] const auto asked = ::recv(peer.get(), block, sizeof(block), 0);
      ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    });
  }
  server::TempDir dir;
  std::string path = dir.file("liar.sock");

 private:
  UniqueFd fd_;
  std::jthread thread_;
};

}  // namespace

TEST_CASE("paths are percent-encoded") {
  CHECK(object_path(kWeb) == "/apis/banger.dev/v1alpha1/namespaces/default/virtualmachines/web");
  CHECK(object_path({api::Kind::Network, "", "a/b?c"}) == "/apis/banger.dev/v1alpha1/networks/a%2Fb%3Fc");
  CHECK(collection_path(api::Kind::VirtualMachine, "") == "/apis/banger.dev/v1alpha1/virtualmachines");
  CHECK(percent_encode("a b\r\n") == "a%20b%0D%0A");
}

TEST_CASE("objects are read and patched, and refusals keep the server's sentence and code") {
  Daemon daemon;
  const auto missing = daemon.client.get(kWeb);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::NotFound);
  CHECK(missing.error().message == "virtualmachines.banger.dev \"web\" not found");
  CHECK_FALSE(is_unreachable(missing.error()));
  const auto vm = daemon.put_vm("web");
  CHECK(*daemon.client.get(kWeb) == vm);
  const auto patched = daemon.client.merge_patch(kWeb, boost::json::parse(R"({"spec":{"cpus":2}})"));
  REQUIRE(patched);
  CHECK(std::get<api::VirtualMachine>(patched->body).spec.cpus == 2);
  CHECK(daemon.client.merge_patch(kWeb, boost::json::parse(R"({"spec":{"cpus":0}})")).error().code == ErrorCode::Invalid);
  CHECK(daemon.client.merge_patch(kWeb, boost::json::parse(R"({"metadata":{"resourceVersion":"1000"}})")).error().code ==
        ErrorCode::Conflict);
  const auto twice = daemon.client.call({.method = "POST", .target = std::string(server::kVms), .body = server::vm_json("web")});
  CHECK(twice.error().code == ErrorCode::AlreadyExists);
}

TEST_CASE("a watch hands over events until the sink has enough, the deadline comes, or it is stopped") {
  Daemon daemon;
  daemon.put_vm("a");
  daemon.put_vm("b");
  const auto target = std::string(server::kVms) + "?watch=true";
  std::vector<std::string> seen;
  const auto note = [&](std::string_view type, const boost::json::value& object) {
    seen.push_back(fmt::format("{}:{}", type, std::string_view(object.at("metadata").at("name").as_string())));
    return seen.size() < 2;
  };
  CHECK(*daemon.client.watch(target, "application/json", note, {}) == Ending::Stopped);
  CHECK(seen == std::vector<std::string>{"ADDED:a", "ADDED:b"});
  const auto all = [](std::string_view, const boost::json::value&) { return true; };
  const Patience short_time{.deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(100), .stop = nullptr};
  CHECK(*daemon.client.watch(target, "application/json", all, short_time) == Ending::TimedOut);
  StopSignal stop;
  std::jthread stopper([&] { stop.set(); });
  CHECK(*daemon.client.watch(target, "application/json", all, {.deadline = std::nullopt, .stop = &stop}) == Ending::Stopped);
  CHECK(*daemon.client.watch(target + "&timeoutSeconds=1", "application/json", all, {}) == Ending::Complete);
}

TEST_CASE("a watch that cannot start, or that ends with an ERROR event, is an error") {
  Daemon daemon;
  daemon.put_vm("a");
  daemon.put_vm("b");
  REQUIRE(daemon.store->compact(2));
  const auto all = [](std::string_view, const boost::json::value&) { return true; };
  const auto gone = daemon.client.watch(std::string(server::kVms) + "?watch=true&resourceVersion=1", "application/json", all, {});
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == ErrorCode::Gone);
  const std::string line = R"({"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}})"
                           "\n";
  Liar liar(fmt::format("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", line.size(), line));
  const auto later = Client(liar.path).watch("/x", "application/json", all, {});
  REQUIRE_FALSE(later);
  CHECK(later.error().code == ErrorCode::Gone);
  CHECK(later.error().message == "too old");
}

TEST_CASE("text streams come as they are") {
  server::Rig rig;
  rig.hooks.serial_log_path = [&](const api::Object&) -> Result<std::string> { return rig.dir.file("serial.log"); };
  server::Server server(rig.options, rig.objects, rig.hooks);
  REQUIRE(server.start());
  rig.put_vm("web");
  std::string text(300'000, 'x');
  std::ofstream(rig.dir.file("serial.log")) << text;
  std::string got;
  const auto ended = Client(rig.options.socket_path)
                         .read_text(object_path(kWeb) + "/log",
                                    [&](std::string_view bytes) {
                                      got += bytes;
                                      return true;
                                    },
                                    {});
  CHECK(*ended == Ending::Complete);
  CHECK(got == text);
}

TEST_CASE("nobody there, a file that is no socket, and a path too long are unreachable and say what to do") {
  const server::TempDir dir;
  const auto absent = Client(dir.file("x.sock")).get(kWeb);
  REQUIRE_FALSE(absent);
  CHECK(is_unreachable(absent.error()));
  CHECK(absent.error().message ==
        fmt::format("bangerd is not running (no answer on {}); start it with: bangerd --manifests DIR", dir.file("x.sock")));
  std::ofstream(dir.file("file")) << "x";
  CHECK(is_unreachable(Client(dir.file("file")).get(kWeb).error()));
  CHECK(Client(dir.file(std::string(200, 'x'))).get(kWeb).error().message.find("must have 1 to 107 bytes") != std::string::npos);
}

TEST_CASE("a daemon that breaks off, or something that is not bangerd, is an error and no hang") {
  const std::pair<std::string, std::string> cases[] = {
      {"", "broke off"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "broke off"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off"},
      {"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", "not JSON"},
      {"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", "HTTP status 500"}};
  for (const auto& [answer, says] : cases) {
    CAPTURE(answer);
    Liar liar(answer);
    const auto result = Client(liar.path).get(kWeb);
    REQUIRE_FALSE(result);
    CAPTURE(result.error().message);
    CHECK(result.error().message.find(says) != std::string::npos);
  }
}

TEST_CASE("a daemon that may not be used counts as one that cannot be reached") {
  const std::string body =
      R"({"kind":"Status","apiVersion":"v1","status":"Failure","message":"you may not","reason":"Forbidden","code":403})";
  Liar liar(fmt::format("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  const auto refused = Client(liar.path).get(kWeb);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == "you may not");
  CHECK(is_unreachable(refused.error()));
}

TEST_CASE("a big answer and a big request pass") {
  Daemon daemon;
  const std::string big(250'000, 'x');
  const auto body = server::vm_json("web", fmt::format(R"("annotations":{{"big":"{}"}})", big));
  const auto created = daemon.client.call({.method = "POST", .target = std::string(server::kVms), .body = body});
  REQUIRE_MESSAGE(created, (created ? "" : created.error().message));
  CHECK(daemon.client.get(kWeb)->meta.annotations.at("big").size() == big.size());
  const auto too_big =
      daemon.client.call({.method = "POST", .target = std::string(server::kVms), .body = std::string(4U << 20U, ' ')});
  REQUIRE_FALSE(too_big);
  CHECK(too_big.error().message.find("larger than 3145728 bytes") != std::string::npos);
}
