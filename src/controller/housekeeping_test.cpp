// SPDX-License-Identifier: Apache-2.0
#include "controller/housekeeping.hpp"

#include <doctest/doctest.h>

#include <fmt/format.h>

#include <memory>
#include <string>

namespace banger::controller {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

struct HousekeepingBench {
  std::unique_ptr<store::Store> store = store::make_memory_store();
  ManualClock clock;
  SeededRandom random{1};
  store::Objects objects{*store, clock, random};

  void store_event(const std::string& object, int number) {
    api::Event event{.involved = {.kind = api::Kind::VirtualMachine, .ns = "default", .name = object},
                     .involved_uid = "",
                     .type = api::EventType::Normal,
                     .reason = "Said",
                     .message = std::to_string(number),
                     .count = 1,
                     .first_time = clock.wall(),
                     .last_time = clock.wall()};
    auto stored =
        objects.create({.meta = {.name = fmt::format("{}.{:016x}", object, number), .ns = "default"}, .body = std::move(event)});
    REQUIRE_MESSAGE(stored, (stored ? "" : stored.error().error.message));
  }
  std::size_t events() { return store->list({.kind = api::Kind::Event})->objects.size(); }
};

TEST_CASE("events go an hour after their last repeat") {
  HousekeepingBench bench;
  Housekeeping house({}, bench.objects, bench.clock);
  bench.store_event("a", 1);
  bench.clock.advance(minutes{30});
  bench.store_event("a", 2);
  bench.clock.advance(minutes{29});
  CHECK(house.expire_events() == 0);
  bench.clock.advance(minutes{1});
  CHECK(house.expire_events() == 1);
  CHECK(bench.events() == 1);
  bench.clock.advance(minutes{30});
  CHECK(house.expire_events() == 1);
}

TEST_CASE("of an object's events the newest fifty stay, of all the newest two thousand") {
  HousekeepingBench bench;
  Housekeeping house({.max_events = 70}, bench.objects, bench.clock);
  for (int i = 0; i < 60; ++i) {
    bench.clock.advance(std::chrono::seconds{1});
    bench.store_event("loud", i);
  }
  for (int i = 0; i < 30; ++i) {
    bench.clock.advance(std::chrono::seconds{1});
    bench.store_event("other", i);
  }
  CHECK(house.expire_events() == 20);
  CHECK(bench.events() == 70);
  std::size_t loud = 0;
  const auto listing = bench.store->list({.kind = api::Kind::Event});
  REQUIRE(listing);
  for (const auto& object : listing->objects) {
    const auto& event = std::get<api::Event>(object.body);
    if (event.involved.name != "loud") continue;
    ++loud;
    CHECK(std::stoi(event.message) >= 20);
  }
  CHECK(loud == 40);
}

TEST_CASE("the changelog keeps an hour and a number of revisions, whichever is more") {
  HousekeepingBench bench;
  Housekeeping house({.kept_revisions = 10}, bench.objects, bench.clock);
  for (int i = 0; i < 30; ++i) bench.store_event("a", i);
  CHECK(house.compact() == 0);  // 30 revisions, all of them young
  bench.clock.advance(minutes{59});
  for (int i = 30; i < 35; ++i) bench.store_event("a", i);
  CHECK(house.compact() == 0);
  bench.clock.advance(minutes{1});
  CHECK(house.compact() == 25);  // those 30 are old, but ten stay
  CHECK(bench.store->compacted() == 25);
  bench.clock.advance(minutes{59});
  CHECK(house.compact() == 0);
  for (int i = 35; i < 100; ++i) bench.store_event("a", i);
  CHECK(house.compact() == 0);  // ten stay easily, but these are young; the old ones were compacted
  bench.clock.advance(hours{1});
  CHECK(house.compact() == 90);
}

}  // namespace
}  // namespace banger::controller
