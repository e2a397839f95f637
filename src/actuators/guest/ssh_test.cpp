// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/ssh.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include "actuators/guest/known_hosts.hpp"
#include "actuators/guest/test_support.hpp"
#include "base/files.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::guest;
using namespace std::chrono_literals;

namespace {

const std::string kUid = "1b5e6f6a-1111-4222-8333-444455556666";
const std::string kNonce = "00112233445566778899aabbccddeeff";

// One VM's files and its guest's home directory, with everything in order unless a test spoils it.
struct Guest {
  TempDir dir;
  Layout layout{.state_dir = dir.path() / "state", .run_dir = dir.path() / "run"};
  SystemRandom random;
  Dropbear dropbear{.home = dir.path() / "home", .host_key = dir.path() / "home" / "dropbear_key", .forced_command = ""};

  Guest() {
    std::filesystem::create_directories(dropbear.home / ".ssh");
    std::filesystem::permissions(dropbear.home, std::filesystem::perms::owner_all);
    allow(ensure_client_key(layout, random).value());
  }
  void allow(const KeyPair& key) const {
    REQUIRE(write_file_durably(dropbear.home / ".ssh" / "authorized_keys", key.openssh_public, 0600));
  }
  void pin(std::uint16_t port) {
    REQUIRE(apply(MakeVmDirectory{.vm_uid = kUid, .addresses = {"127.0.0.1"}, .port = port}, layout, random));
    const auto key = load_key(host_key_path(layout, kUid)).value();
    REQUIRE(write_file_durably(dropbear.host_key, key.dropbear_private, 0600));
  }
  [[nodiscard]] SyncGuest sync_job(std::uint16_t port) const {
    return {.target = {.address = "127.0.0.1", .port = port, .user = "root", .vm_uid = kUid}, .nonce = kNonce};
  }
};

std::chrono::milliseconds took(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
}

bool skip_without_guest() { return skip_without("dropbear") || skip_without_private_network(); }

// Holds the connection until the client goes.
void wait_for_close(int connection) {
  std::array<char, 256> chunk{};
  while (::recv(connection, chunk.data(), chunk.size(), 0) > 0) {
  }
}

Result<std::string> sync_against(Guest& guest, std::stop_token stop = {}) {
  const TcpServer server([&](int connection) { guest.dropbear.serve(connection); });
  guest.pin(server.port());
  return run(guest.sync_job(server.port()), guest.layout, std::move(stop));
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a VM directory is made with key and pinned addresses, and left alone the second time") {
  const TempDir dir;
  const Layout layout{.state_dir = dir.path() / "state", .run_dir = dir.path() / "run"};
  SystemRandom random;
  MakeVmDirectory step{.vm_uid = kUid, .addresses = {"10.1.2.3", "10.9.0.7"}, .port = 22};
  CHECK(apply(step, layout, random) == Applied::Changed);
  CHECK(apply(step, layout, random) == Applied::Unchanged);
  struct stat info{};
  REQUIRE(::stat(vm_dir(layout, kUid).c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0700);
  const auto key = load_key(host_key_path(layout, kUid)).value();
  const auto blob = key.openssh_public.substr(0, key.openssh_public.find(' ', 12));
  CHECK(read_file(known_hosts_path(layout, kUid), kib(4)).value() == "10.1.2.3 " + blob + "\n10.9.0.7 " + blob + "\n");

  step.port = 2222;
  CHECK(apply(step, layout, random) == Applied::Changed);
  CHECK(read_file(known_hosts_path(layout, kUid), kib(4)).value().starts_with("[10.1.2.3]:2222 ssh-ed25519 "));
  CHECK(load_key(host_key_path(layout, kUid)).value().openssh_private == key.openssh_private);

  REQUIRE(::chmod(vm_dir(layout, kUid).c_str(), 0755) == 0);
  CHECK(apply(step, layout, random) == Applied::Changed);
  REQUIRE(::stat(vm_dir(layout, kUid).c_str(), &info) == 0);
  CHECK((info.st_mode & 0777U) == 0700);
}

TEST_CASE("a VM directory is refused for names and addresses that are none, and behind a symbolic link") {
  const TempDir dir;
  const Layout layout{.state_dir = dir.path() / "state", .run_dir = dir.path() / "run"};
  SystemRandom random;
  const auto code = [&](const MakeVmDirectory& step) { return apply(step, layout, random).error().code; };
  CHECK(code({.vm_uid = "../x", .addresses = {}, .port = 22}) == ErrorCode::Invalid);
  CHECK(code({.vm_uid = kUid, .addresses = {"10.1.2.3 evil"}, .port = 22}) == ErrorCode::Invalid);
  CHECK(code({.vm_uid = kUid, .addresses = {"10.1.2.3\n* ssh-ed25519 A"}, .port = 22}) == ErrorCode::Invalid);
  CHECK(code({.vm_uid = kUid, .addresses = {"10.1.2.3"}, .port = 0}) == ErrorCode::Invalid);
  CHECK_FALSE(std::filesystem::exists(layout.state_dir));

  std::filesystem::create_directories(layout.state_dir / "vms");
  std::filesystem::create_directories(dir.path() / "elsewhere");
  std::filesystem::create_directory_symlink(dir.path() / "elsewhere", vm_dir(layout, kUid));
  CHECK_FALSE(apply(MakeVmDirectory{.vm_uid = kUid, .addresses = {"10.1.2.3"}, .port = 22}, layout, random));
  CHECK(std::filesystem::is_empty(dir.path() / "elsewhere"));
}

TEST_CASE("a pinned key is found by its exact name only") {
  SeededRandom random(3);
  const auto key = generate_key(random, "x").value();
  const auto text = write_known_hosts({"10.1.2.3", "[10.1.2.4]:2222"}, key.openssh_public);
  CHECK(pinned_key(text, "10.1.2.3"));
  CHECK(pinned_key(text, known_hosts_name("10.1.2.4", 2222)) == pinned_key(text, "10.1.2.3"));
  for (const auto* other : {"10.1.2.4", "10.1.2", "10.1.2.33", "*", ""}) {
    CHECK(pinned_key(text, other).error().code == ErrorCode::Denied);
  }
  CHECK_FALSE(pinned_key("10.1.2.3 ssh-rsa AAAA\n10.1.2.3 ssh-ed25519 !!!!\n", "10.1.2.3"));
}

TEST_CASE("fingerprints are those of ssh-keygen") {
  if (skip_without("ssh-keygen")) return;
  const TempDir dir;
  SystemRandom random;
  const auto key = ensure_key(dir.path() / "key", random, "x").value();
  const auto blob = pinned_key(write_known_hosts({"h"}, key.openssh_public), "h").value();
  const auto output = run_program({"ssh-keygen", "-l", "-f", (dir.path() / "key.pub").native()});
  CHECK_MESSAGE(contains(output.text, fingerprint(blob) + " "), output.text);
}

TEST_CASE("a sync in a real guest brings its nonce back") {
  if (skip_without_guest()) return;
  Guest guest;
  const auto result = sync_against(guest);
  CHECK_MESSAGE(result == kNonce, (result ? *result : result.error().message));
}

TEST_CASE("what a login prints before does not matter, but a line that only contains the nonce does not count") {
  if (skip_without_guest()) return;
  Guest guest;
  guest.dropbear.forced_command = "echo welcome; echo noise >&2; sync; echo BGR-SYNC-" + kNonce;
  CHECK(sync_against(guest) == kNonce);
  for (const auto* command : {"echo \"$SSH_ORIGINAL_COMMAND\"; echo not found: sync \\&\\& echo BGR-SYNC-", "printf %s BGR-SYNC-",
                              "echo x BGR-SYNC-", "echo BGR-SYNC-0"}) {
    guest.dropbear.forced_command = command + kNonce;
    const auto result = sync_against(guest);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::Unavailable);
    CHECK(result.error().message.starts_with("SyncNotConfirmed: 127.0.0.1:"));
  }
}

TEST_CASE("a nonce that is not hexadecimal never reaches a guest") {
  const TempDir dir;
  const Layout layout{.state_dir = dir.path(), .run_dir = dir.path()};
  for (const auto* nonce : {"", "abc", "ABCDEF0123", "00112233;reboot", "0011223344556677 "}) {
    const SyncGuest job{.target = {.address = "127.0.0.1", .port = 1, .user = "root", .vm_uid = kUid}, .nonce = nonce};
    CHECK(run(job, layout, {}).error().code == ErrorCode::Invalid);
  }
  const SyncGuest long_one{.target = {.address = "127.0.0.1", .port = 1, .user = "root", .vm_uid = kUid},
                           .nonce = std::string(65, 'a')};
  CHECK(run(long_one, layout, {}).error().code == ErrorCode::Invalid);
}

TEST_CASE("a command that eats its output, or fails, is not a sync, whatever its exit status") {
  if (skip_without_guest()) return;
  Guest guest;
  for (const auto* command : {"true", "false", "echo BGR-SYNC-00112233445566778899aabbccddee00"}) {
    guest.dropbear.forced_command = command;
    const auto result = sync_against(guest);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::Unavailable);
    CHECK_MESSAGE(contains(result.error().message, "SyncNotConfirmed: 127.0.0.1:"), result.error().message);
    CHECK_MESSAGE(contains(result.error().message, "the command ended without the nonce"), result.error().message);
  }
}

TEST_CASE("a connection cut before the nonce is not a sync") {
  if (skip_without_guest()) return;
  Guest guest;
  guest.dropbear.forced_command = "kill -9 $PPID";
  const auto result = sync_against(guest);
  REQUIRE_FALSE(result);
  CHECK_MESSAGE(result.error().message.starts_with("SyncNotConfirmed: "), result.error().message);
}

TEST_CASE("endless output is cut off") {
  if (skip_without_guest()) return;
  Guest guest;
  for (const auto* command : {"yes", "yes >&2"}) {
    guest.dropbear.forced_command = command;
    std::optional<Result<std::string>> result;
    CHECK(took([&] { result = sync_against(guest); }) < 15s);
    REQUIRE_FALSE(*result);
    CHECK_MESSAGE(contains(result->error().message, " than "), result->error().message);
    CHECK_MESSAGE(result->error().message.starts_with("SyncNotConfirmed: "), result->error().message);
  }
}

TEST_CASE("a server with another host key is refused with both fingerprints") {
  if (skip_without_guest()) return;
  Guest guest;
  const TcpServer server([&](int connection) { guest.dropbear.serve(connection); });
  guest.pin(server.port());
  const auto impostor = generate_key(guest.random, "impostor").value();
  REQUIRE(write_file_durably(guest.dropbear.host_key, impostor.dropbear_private, 0600));
  const auto result = run(guest.sync_job(server.port()), guest.layout, {});
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::Denied);
  CHECK_MESSAGE(contains(result.error().message, "man in the middle"), result.error().message);
  CHECK(
      contains(result.error().message, fingerprint(pinned_key(write_known_hosts({"h"}, impostor.openssh_public), "h").value())));
  CHECK(contains(result.error().message, known_hosts_path(guest.layout, kUid).native()));
}

TEST_CASE("a guest that does not know our key says so, and one that is pinned nowhere is never asked") {
  if (skip_without_guest()) return;
  Guest guest;
  guest.allow(generate_key(guest.random, "someone else").value());
  auto result = sync_against(guest);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::Denied);
  CHECK_MESSAGE(contains(result.error().message, "does not accept our key"), result.error().message);

  const TcpServer server([&](int connection) { guest.dropbear.serve(connection); });
  result = run(guest.sync_job(server.port()), guest.layout, {});  // its port is not in known_hosts
  CHECK(result.error().code == ErrorCode::Denied);
  CHECK_MESSAGE(contains(result.error().message, "no ssh-ed25519 host key is pinned for [127.0.0.1]:"), result.error().message);
}

TEST_CASE("a server with only an RSA host key gets a sentence that says so") {
  if (skip_without_guest() || skip_without("dropbearkey")) return;
  Guest guest;
  const TcpServer server([&](int connection) { guest.dropbear.serve(connection); });
  guest.pin(server.port());
  std::filesystem::remove(guest.dropbear.host_key);
  const auto made = run_program({"dropbearkey", "-t", "rsa", "-s", "2048", "-f", guest.dropbear.host_key.native()});
  REQUIRE_MESSAGE(made.exit_code == 0, made.text);
  const auto result = run(guest.sync_job(server.port()), guest.layout, {});
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::Denied);
  CHECK_MESSAGE(contains(result.error().message, "offers no ed25519 host key (RSA-only servers cannot be used)"),
                result.error().message);
}

TEST_CASE("a closed port is unreachable at once") {
  if (skip_without_private_network()) return;
  Guest guest;
  std::uint16_t port = 0;
  {
    port = TcpServer([](int) {}).port();
  }  // nobody listens there any more
  guest.pin(port);
  std::optional<Result<std::string>> result;
  CHECK(took([&] { result = run(guest.sync_job(port), guest.layout, {}); }) < 2500ms);
  REQUIRE_FALSE(*result);
  CHECK(result->error().code == ErrorCode::Unavailable);
  CHECK_MESSAGE(result->error().message.starts_with("GuestUnreachable: 127.0.0.1:"), result->error().message);
  CHECK(took([&] { result = run(ProbeSsh{.target = guest.sync_job(port).target}, guest.layout, {}); }) < 1s);
  CHECK_MESSAGE(result->error().message.starts_with("GuestUnreachable: 127.0.0.1:"), result->error().message);
}

TEST_CASE("an address that swallows packets costs two seconds, not more") {
  if (skip_without_private_network()) return;
  Guest guest;
  // A listener whose queue is full drops further SYNs without a word, as a frozen guest does.
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(listener.get(), any, length) == 0);
  REQUIRE(::listen(listener.get(), 0) == 0);
  REQUIRE(::getsockname(listener.get(), any, &length) == 0);
  std::vector<UniqueFd> fillers;
  for (int i = 0; i < 4; ++i) {
    fillers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)::connect(fillers.back().get(), any, length);
  }
  const auto port = ntohs(address.sin_port);
  guest.pin(port);
  std::optional<Result<std::string>> result;
  CHECK(took([&] { result = run(guest.sync_job(port), guest.layout, {}); }) < 2500ms);
  REQUIRE_FALSE(*result);
  CHECK_MESSAGE(contains(result->error().message, "timed out"), result->error().message);
}

TEST_CASE("a server that never speaks is given up") {
  if (skip_without_private_network()) return;
  Guest guest;
  const TcpServer server([](int connection) { wait_for_close(connection); });
  guest.pin(server.port());
  const auto job = guest.sync_job(server.port());
  std::optional<Result<std::string>> result;
  CHECK(took([&] { result = run(ProbeSsh{.target = job.target}, guest.layout, {}); }) < 1500ms);
  CHECK_MESSAGE(contains(result->error().message, "timed out"), result->error().message);
  CHECK(took([&] { result = run(job, guest.layout, {}); }) < 7s);
  REQUIRE_FALSE(*result);
  CHECK(result->error().code == ErrorCode::Unavailable);
  CHECK_MESSAGE(contains(result->error().message, "waiting for the SSH banner: timed out"), result->error().message);
}

TEST_CASE("a request to stop ends a wait at once") {
  if (skip_without_private_network()) return;
  Guest guest;
  std::stop_source stop;
  const TcpServer server([&](int connection) {
    stop.request_stop();  // the client is connected and waits for a banner
    wait_for_close(connection);
  });
  guest.pin(server.port());
  std::optional<Result<std::string>> result;
  CHECK(took([&] { result = run(guest.sync_job(server.port()), guest.layout, stop.get_token()); }) < 2s);
  REQUIRE_FALSE(*result);
  CHECK_MESSAGE(contains(result->error().message, "cancelled"), result->error().message);
}

TEST_CASE("a request to stop ends a running command at once, and hanging up does not wait for the guest") {
  if (skip_without_guest()) return;
  Guest guest;
  const auto fifo = guest.dropbear.home / "started";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  guest.dropbear.forced_command = "echo > started; exec cat";
  std::stop_source stop;
  const std::jthread watcher([&] {
    const UniqueFd reader(::open(fifo.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    pollfd started{.fd = reader.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&started, 1, 15'000);
    stop.request_stop();
  });
  std::optional<Result<std::string>> result;
  CHECK(took([&] { result = sync_against(guest, stop.get_token()); }) < 10s);
  REQUIRE_FALSE(*result);
  CHECK_MESSAGE(result->error().message.starts_with("SyncNotConfirmed: "), result->error().message);
  CHECK_MESSAGE(contains(result->error().message, "cancelled"), result->error().message);
}

TEST_CASE("a banner flood is bounded in bytes and time") {
  if (skip_without_private_network()) return;
  Guest guest;
  for (const auto& chunk : {std::string(4096, 'x'), std::string("SSH-2.0-") + std::string(4096, 'y'), std::string("hello\r\n"),
                            std::string(4096, '\0'), std::string("\n")}) {
    const TcpServer server([&](int connection) {
      while (::send(connection, chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0) {
      }
    });
    guest.pin(server.port());
    const auto job = guest.sync_job(server.port());
    std::optional<Result<std::string>> result;
    CHECK(took([&] { result = run(job, guest.layout, {}); }) < 10s);
    REQUIRE_FALSE(*result);
    CHECK_MESSAGE(result->error().message.starts_with("GuestUnreachable: "), result->error().message);
    CHECK(result->error().message.size() < 600);
    CHECK(took([&] { result = run(ProbeSsh{.target = job.target}, guest.layout, {}); }) < 1500ms);
    if (*result) CHECK((*result)->size() == 255);
  }
}

TEST_CASE("a probe brings the banner, printable") {
  if (skip_without_private_network()) return;
  Guest guest;
  const auto probe = [&](const std::string& said) {
    const TcpServer server([&](int connection) {
      (void)!::send(connection, said.data(), said.size(), MSG_NOSIGNAL);
      ::shutdown(connection, SHUT_WR);
      wait_for_close(connection);
    });
    return run(ProbeSsh{.target = guest.sync_job(server.port()).target}, guest.layout, {});
  };
  CHECK(probe("SSH-2.0-dropbear_2022.83\r\nmore") == "SSH-2.0-dropbear_2022.83");
  CHECK(probe("welcome\r\nSSH-2.0-x\n") == "SSH-2.0-x");
  CHECK(probe("SSH-2.0-\x1b[2J\n") == "SSH-2.0-\\x1b[2J");
  CHECK(contains(probe("SSH-2.0-cut").error().message, "closed before an SSH banner"));
  CHECK(contains(probe("").error().message, "closed before an SSH banner"));
  CHECK(contains(probe("HTTP/1.1 400 Bad Request\r\n\r\n").error().message, "closed before an SSH banner"));
}

TEST_CASE("a probe finds a real server's banner") {
  if (skip_without_guest()) return;
  Guest guest;
  const TcpServer server([&](int connection) { guest.dropbear.serve(connection); });
  guest.pin(server.port());
  const auto banner = run(ProbeSsh{.target = guest.sync_job(server.port()).target}, guest.layout, {});
  REQUIRE_MESSAGE(banner, banner.error().message);
  CHECK(banner->starts_with("SSH-2.0-dropbear"));
}
