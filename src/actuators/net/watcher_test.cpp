// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/watcher.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "actuators/names.hpp"
#include "actuators/net/nft_socket.hpp"
#include "actuators/net/test_support.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::net;

namespace {

// Collects hints; wait_for answers whether one came within ten seconds, and forgets everything then.
class Hints {
 public:
  void add(const std::string& uid) {
    const std::scoped_lock lock(mutex_);
    seen_.push_back(uid);
    came_.notify_all();
  }
  bool wait_for(const std::string& uid) {
    std::unique_lock lock(mutex_);
    const bool found =
        came_.wait_for(lock, std::chrono::seconds(10), [&] { return std::ranges::find(seen_, uid) != seen_.end(); });
    seen_.clear();
    return found;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> seen_;
};

}  // namespace

TEST_CASE("changes to labelled links and tables bring their owner's uid") {
  if (skip_without_fresh_namespace()) return;
  Hints hints;
  const auto net = open_net();
  REQUIRE(net->apply(bridge_step()));  // there before the watch starts
  REQUIRE(net->watch([&](const std::string& uid) { hints.add(uid); }));
  REQUIRE(net->apply(tap_step()));
  CHECK(hints.wait_for(kVmUid));
  delete_tap_behind_our_back(tap_step().name);
  CHECK(hints.wait_for(kVmUid));

  auto moved = bridge_step();
  moved.address = "10.9.0.9/24";
  REQUIRE(net->apply(moved));
  CHECK(hints.wait_for(kNetworkUid));

  REQUIRE(net->apply(nat_step()));
  CHECK(hints.wait_for(kNetworkUid));
  const auto other = NftSocket::open().value();
  REQUIRE(other->remove(nat_step().table, [](const std::string&) { return true; }));
  CHECK(hints.wait_for(kNetworkUid));
}

TEST_CASE("a tap that is removed by a step brings one hint: when it is gone") {
  if (skip_without_fresh_namespace()) return;
  Hints hints;
  const auto net = open_net();
  REQUIRE(net->apply(bridge_step()));
  REQUIRE(net->apply(tap_step()));
  std::atomic<int> early = 0;
  REQUIRE(net->watch([&](const std::string& uid) {
    if (uid == kVmUid && net->link(tap_step().name).value()) ++early;
    hints.add(uid);
  }));
  REQUIRE(net->apply(RemoveLink{.owner_uid = kVmUid, .name = tap_step().name}) == Applied::Changed);
  CHECK(hints.wait_for(kVmUid));
  CHECK(early == 0);
  CHECK_FALSE(net->link(tap_step().name).value());
}

TEST_CASE("a flush of the whole ruleset is noticed") {
  if (skip_without_nft() || skip_without_fresh_namespace()) return;
  Hints hints;
  const auto net = open_net();
  REQUIRE(net->apply(nat_step()));
  REQUIRE(net->watch([&](const std::string& uid) { hints.add(uid); }));
  nft({"flush", "ruleset"});
  CHECK(hints.wait_for(kNetworkUid));
}

TEST_CASE("foreign links that come or go are a hint about anything") {
  if (skip_without_fresh_namespace()) return;
  Hints hints;
  const auto net = open_net();
  REQUIRE(net->watch([&](const std::string& uid) { hints.add(uid); }));
  make_foreign_bridge("br-users");
  CHECK(hints.wait_for(""));
  make_foreign_tap(tap_step().name);
  delete_tap_behind_our_back(tap_step().name);  // a name conflict goes away
  CHECK(hints.wait_for(""));
}

TEST_CASE("a watcher that sees nothing stops at once") {
  if (skip_without_fresh_namespace()) return;
  for (int i = 0; i < 20; ++i) {
    const auto net = open_net();
    REQUIRE(net->watch([](const std::string&) {}));
  }
}
