// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/tap_reaper.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "actuators/names.hpp"
#include "actuators/net/link_reader.hpp"
#include "actuators/net/link_steps.hpp"
#include "actuators/net/test_support.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::net;

namespace {

constexpr std::chrono::seconds kLong{20};
constexpr TapReaperOptions kPatient{
    .quiet = std::chrono::minutes(1), .longest = std::chrono::minutes(1), .most = 256};  // until settle()

// A bridge with many taps of ours, and a reaper beside.
struct Taps {
  explicit Taps(std::size_t count, TapReaperOptions options = kPatient) {
    auto started = TapReaper::start(kInstance, options);
    REQUIRE(started);
    reaper = *std::move(started);
    REQUIRE(make_bridge(socket, bridge_step(), kInstance));
    for (std::size_t i = 0; i < count; ++i) {
      uids.push_back(fmt::format("{:08x}-1111-4222-8333-444455556666", i));
      REQUIRE(make(i));
    }
  }
  std::string name(std::size_t i) const { return tap_name(uids.at(i), 0); }
  Result<Applied> make(std::size_t i) {
    return make_tap(socket, {.vm_uid = uids.at(i), .name = name(i), .bridge = bridge_step().name}, kInstance, *reaper);
  }
  Result<Applied> remove(std::size_t i) { return remove_link(socket, {uids.at(i), name(i)}, kInstance, *reaper); }
  void remove_all() {
    for (std::size_t i = 0; i < uids.size(); ++i) CHECK(remove(i) == Applied::Changed);
  }
  std::vector<LinkRecord> links() { return read_link_records(socket).value(); }
  LinkRecord link(const std::string& wanted) {
    auto found = read_link(socket, wanted).value();
    REQUIRE(found);
    return *found;
  }
  bool exists(const std::string& wanted) { return read_link(socket, wanted).value().has_value(); }
  std::ptrdiff_t taps() {
    return std::ranges::count_if(links(), [](const auto& each) { return each.view.kind == "tun"; });
  }
  void change(const std::string& wanted, const LinkChange& what) {
    REQUIRE(socket.change(change_link(static_cast<int>(link(wanted).view.index), what), "changing " + wanted));
  }

  RouteSocket socket = RouteSocket::open().value();
  std::unique_ptr<TapReaper> reaper;
  std::vector<std::string> uids;
};

}  // namespace

TEST_CASE("200 taps go in one request, and a bridge with them") {
  if (skip_without_fresh_namespace()) return;
  Taps host(200);
  CHECK(host.taps() == 200);
  host.remove_all();
  CHECK(host.taps() == 200);  // noted, no more
  CHECK(host.remove(7) == Applied::Unchanged);
  CHECK(host.reaper->holds(static_cast<int>(host.link(host.name(7)).view.index)));
  CHECK(TapDevice::attach(host.name(7)).error().sys_errno == EBUSY);  // nobody can open one that is to go
  CHECK(remove_link(host.socket, {kNetworkUid, bridge_step().name}, kInstance, *host.reaper) == Applied::Changed);
  CHECK(host.links().size() == 1);  // lo
  CHECK(host.reaper->requests() == 1);
}

TEST_CASE("taps go by themselves, in few requests") {
  if (skip_without_fresh_namespace()) return;
  Taps host(200, {});
  for (std::size_t i = 0; i < host.uids.size(); ++i) CHECK(host.remove(i) == Applied::Changed);
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 0);
  CHECK(host.reaper->requests() <= 20);
}

TEST_CASE("more than may be held wait for their turn") {
  if (skip_without_fresh_namespace()) return;
  Taps host(20, {.quiet = std::chrono::milliseconds(1), .longest = std::chrono::milliseconds(1), .most = 3});
  host.remove_all();
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 0);
}

TEST_CASE("a foreign link in the group survives, and another number is taken") {
  if (skip_without_fresh_namespace()) return;
  Taps host(20);
  make_foreign_tap("tap0");
  make_foreign_bridge("br-users");
  const auto number = host.reaper->group();
  CHECK(number != 0);
  host.change("tap0", {.group = number});
  host.change("br-users", {.group = number});
  host.remove_all();
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 1);
  CHECK(host.link("tap0").group == number);
  CHECK(host.exists("br-users"));
  CHECK(host.reaper->requests() == 20);
  CHECK(host.reaper->group() != number);
}

TEST_CASE("one of ours that was marked once and is in use again survives the next removal") {
  if (skip_without_fresh_namespace()) return;
  Taps host(4);
  host.change(host.name(0), {.group = host.reaper->group()});
  for (std::size_t i = 1; i < 4; ++i) CHECK(host.remove(i) == Applied::Changed);
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 1);
  CHECK(host.exists(host.name(0)));
}

TEST_CASE("a tap that is to go is not made anew before it is gone") {
  if (skip_without_fresh_namespace()) return;
  Taps host(3);
  host.remove_all();
  const auto early = host.make(1);
  REQUIRE_FALSE(early);
  CHECK(early.error().code == ErrorCode::Busy);
  CHECK(host.reaper->settle(kLong));
  CHECK(host.make(1) == Applied::Changed);
  CHECK(host.taps() == 1);
}

TEST_CASE("a link that was made anew under the name of one that was to go survives") {
  if (skip_without_fresh_namespace()) return;
  Taps host(5);
  host.remove_all();
  const auto doomed = host.link(host.name(2));
  REQUIRE(host.socket.change(delete_link(static_cast<int>(doomed.view.index)), "behind its back"));
  CHECK(host.make(2) == Applied::Changed);
  REQUIRE(host.socket.change(delete_link(static_cast<int>(host.link(host.name(3)).view.index)), "behind its back"));
  make_foreign_tap(host.name(3));
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 2);
  CHECK(host.exists(host.name(2)));
  CHECK(host.exists(host.name(3)));
}

TEST_CASE("one that was given to somebody else under the mark survives, and the next step says so") {
  if (skip_without_fresh_namespace()) return;
  Taps host(5);
  host.remove_all();
  host.change(host.name(2), {.alias = "mine now"});
  host.change(host.name(3), {.alias = label_of(host.uids[4])});  // another owner's of this daemon
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 2);
  CHECK(host.link(host.name(2)).group == 0);
  host.change(host.name(2), {.alias = label_of(host.uids[2])});
  const auto said = host.remove(2);
  REQUIRE_FALSE(said);
  CHECK(said.error().code == ErrorCode::Conflict);
  CHECK(said.error().message == "removing tap " + host.name(2) + ": NameConflict: link " + host.name(2) +
                                    " was given to somebody else (alias \"mine now\")");
  CHECK(host.remove(2) == Applied::Changed);  // said once; now it goes
  CHECK(host.reaper->settle(kLong));
  CHECK_FALSE(host.exists(host.name(2)));
  CHECK(host.remove(3).error().code == ErrorCode::Conflict);
}

TEST_CASE("what waits when it ends stays, and the next one removes it") {
  if (skip_without_fresh_namespace()) return;
  Taps host(10);
  host.remove_all();
  host.reaper = TapReaper::start(kInstance, kPatient).value();
  CHECK(host.taps() == 10);
  host.remove_all();
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 0);
}

#ifdef BANGER_FAILPOINTS
// What the test below runs in a process of its own, which is killed on the way.
TEST_CASE("helper: a daemon that removes every tap of ours" * doctest::skip()) {
  auto socket = RouteSocket::open().value();
  const auto reaper = TapReaper::start(kInstance, kPatient).value();
  const auto links = read_link_records(socket).value();
  for (const auto& link : links) {
    if (link.view.kind == "tun")
      CHECK(remove_link(socket, {owner_by_label(link.view.alias, kInstance), link.view.name}, kInstance, *reaper));
  }
  reaper->settle(kLong);
}

TEST_CASE("a kill between mark and removal leaves links that the next daemon removes") {
  if (skip_without_fresh_namespace()) return;
  Taps host(10);
  const auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::setenv("BANGER_FAILPOINTS", "net.taps-marked=kill", 1);
    ::execl("/proc/self/exe", "helper", "--no-skip", "--test-case=helper: a daemon that removes every tap of ours", nullptr);
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(host.taps() == 10);
  const auto group = host.link(host.name(0)).group;
  CHECK(group != 0);
  CHECK(host.reaper->group() != group);
  host.remove_all();
  CHECK(host.reaper->settle(kLong));
  CHECK(host.taps() == 0);
  CHECK(host.reaper->requests() == 1);
}
#endif
