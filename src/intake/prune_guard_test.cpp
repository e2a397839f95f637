// SPDX-License-Identifier: Apache-2.0
#include "intake/prune_guard.hpp"

#include <doctest/doctest.h>

#include <string>

namespace banger::intake {
namespace {

api::ObjectKey vm(int number) {
  return {.kind = api::Kind::VirtualMachine, .ns = "default", .name = "vm" + std::to_string(number)};
}

PruneInput input(std::size_t owned, int undeclared) {
  PruneInput it{.identity = "1:2", .owned = owned, .now_ms = 1'000};
  for (int i = 0; i < undeclared; ++i) it.undeclared[vm(i)] = "uid" + std::to_string(i);
  return it;
}

// As the next scan sees it, nothing having been confirmed.
void remember(PruneInput& it, const PruneDecision& decision) {
  it.waiting = decision.wait;
  it.token = decision.token;
  it.now_ms += 10'000;
}

TEST_CASE("two objects or a fifth of them go at once, more wait") {
  CHECK(prune_limit(0) == 2);
  CHECK(prune_limit(14) == 2);
  CHECK(prune_limit(15) == 3);
  CHECK(prune_limit(100) == 20);
  CHECK(decide_prune(input(2, 2)).remove.size() == 2);
  CHECK(decide_prune(input(100, 20)).remove.size() == 20);
  const auto waits = decide_prune(input(100, 21));
  CHECK(waits.remove.empty());
  CHECK(waits.wait.size() == 21);
  CHECK(waits.reason == "TooMany");
  CHECK(waits.message ==
        "21 objects of this directory are declared by no file, more than the 20 of 100 that go at once; to let them go: "
        "bangerctl sources confirm");
  CHECK_FALSE(waits.token.empty());
}

TEST_CASE("nothing to remove is nothing that waits") {
  const auto none = decide_prune(input(5, 0));
  CHECK(none.remove.empty());
  CHECK(none.wait.empty());
  CHECK(none.token.empty());
  CHECK(none.reason == "NothingWaits");
}

TEST_CASE("in a directory that is another one, gone or unreadable even one removal waits") {
  for (const auto& [state, reason] :
       {std::pair{DirectoryState::Replaced, "DirectoryReplaced"}, std::pair{DirectoryState::Missing, "DirectoryMissing"},
        std::pair{DirectoryState::Unreadable, "DirectoryUnreadable"}}) {
    auto it = input(100, 1);
    it.directory = state;
    const auto decision = decide_prune(it);
    CHECK(decision.remove.empty());
    CHECK(decision.wait.size() == 1);
    CHECK(decision.reason == reason);
  }
}

TEST_CASE("a removal beside ones that wait is not held up by them") {
  auto it = input(10, 5);
  remember(it, decide_prune(it));
  it.undeclared[vm(7)] = "uid7";
  const auto next = decide_prune(it);
  CHECK(next.remove == std::set{vm(7)});
  CHECK(next.wait.size() == 5);
  CHECK(next.token == it.token);
}

TEST_CASE("the token stays while the same objects wait, and is another for any other set, object or directory") {
  auto it = input(10, 5);
  const auto first = decide_prune(it);
  remember(it, first);
  CHECK(decide_prune(it).token == first.token);
  auto fewer = it;
  fewer.undeclared.erase(vm(0));
  CHECK(decide_prune(fewer).token != first.token);
  auto reborn = it;
  reborn.undeclared[vm(0)] = "another uid";
  CHECK(decide_prune(reborn).token != first.token);
  auto moved = it;
  moved.identity = "1:3";
  CHECK(decide_prune(moved).token != first.token);
}

TEST_CASE("a confirmation lets exactly what was shown go") {
  auto it = input(10, 5);
  const auto first = decide_prune(it);
  remember(it, first);
  it.confirmed_token = first.token;
  auto fewer = it;
  fewer.undeclared.erase(vm(0));
  CHECK(decide_prune(fewer).remove.empty());
  CHECK(decide_prune(fewer).wait.size() == 4);
  const auto confirmed = decide_prune(it);
  CHECK(confirmed.remove.size() == 5);
  CHECK(confirmed.wait.empty());
  CHECK(confirmed.token.empty());
}

TEST_CASE("an old confirmation is not good for the same objects missing another time") {
  auto it = input(10, 5);
  const auto first = decide_prune(it);
  it.confirmed_token = first.token;
  it.now_ms += 60'000;  // they came back meanwhile: nothing waits, no token
  const auto again = decide_prune(it);
  CHECK(again.remove.empty());
  CHECK(again.wait.size() == 5);
}

TEST_CASE("a confirmation works for a directory that is gone, too") {
  auto it = input(3, 3);
  it.directory = DirectoryState::Missing;
  it.identity = "";
  const auto first = decide_prune(it);
  remember(it, first);
  it.confirmed_token = first.token;
  CHECK(decide_prune(it).remove.size() == 3);
}

TEST_CASE("in adopt mode even one removal waits, until a person confirms it") {
  auto held = input(100, 1);
  held.held = true;
  const auto waits = decide_prune(held);
  CHECK(waits.remove.empty());
  CHECK(waits.reason == "AdoptMode");
  CHECK(waits.message.find("came back from records after the database was lost") != std::string::npos);
  remember(held, waits);
  held.confirmed_token = waits.token;
  CHECK(decide_prune(held).remove.size() == 1);
}

}  // namespace
}  // namespace banger::intake
