// SPDX-License-Identifier: Apache-2.0
#include "controller/event_recorder.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace banger::controller {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A store whose writes fail while broken.
class FragileStore final : public store::Store {
 public:
  bool broken = false;

  Result<api::Object> get(const api::ObjectKey& key) override { return inner_->get(key); }
  Result<store::Listing> list(const store::ListQuery& query) override { return inner_->list(query); }
  Result<api::Object> create(const api::Object& object) override { return broken ? refuse() : inner_->create(object); }
  Result<api::Object> update(const api::Object& object) override { return broken ? refuse() : inner_->update(object); }
  Result<api::Object> remove(const api::ObjectKey& key, std::optional<store::Revision> expected) override {
    return broken ? refuse() : inner_->remove(key, expected);
  }
  store::Revision revision() override { return inner_->revision(); }
  store::Revision compacted() override { return inner_->compacted(); }
  Result<std::unique_ptr<store::Watch>> watch(const store::WatchQuery& query) override { return inner_->watch(query); }
  Result<void> compact(store::Revision revision) override { return inner_->compact(revision); }
  bool poisoned() override { return broken; }

 private:
  static Result<api::Object> refuse() { return fail({.code = ErrorCode::Unavailable, .message = "no space", .sys_errno = 0}); }
  std::unique_ptr<store::Store> inner_ = store::make_memory_store();
};

struct RecorderBench {
  FragileStore store;
  ManualClock clock;
  SystemRandom random;  // drawn from by threads
  store::Objects objects{store, clock, random};
  EventRecorder recorder{objects, clock};
  const api::ObjectKey web{.kind = api::Kind::VirtualMachine, .ns = "prod", .name = "web"};
  const std::string uid = "11111111-2222-4333-8444-555555555555";

  void say(std::string_view reason, std::string_view message) {
    recorder.record(web, uid, api::EventType::Warning, reason, message);
  }
  std::vector<api::Object> stored() { return store.list({.kind = api::Kind::Event})->objects; }
  api::Event only() {
    const auto all = stored();
    REQUIRE(all.size() == 1);
    return std::get<api::Event>(all[0].body);
  }
};

TEST_CASE("an event stands beside its object, named after it") {
  RecorderBench bench;
  bench.say("StartFailed", "no such image");
  const auto all = bench.stored();
  REQUIRE(all.size() == 1);
  CHECK(all[0].meta.ns == "prod");
  CHECK(all[0].meta.name.starts_with("web."));
  CHECK(all[0].meta.name.size() == std::string("web.").size() + 16);
  const auto event = bench.only();
  CHECK(event.involved == bench.web);
  CHECK(event.involved_uid == bench.uid);
  CHECK(event.type == api::EventType::Warning);
  CHECK(event.reason == "StartFailed");
  CHECK(event.message == "no such image");
  CHECK(event.count == 1);
  CHECK(event.first_time == bench.clock.wall());
}

TEST_CASE("events of objects without a namespace stand in default") {
  RecorderBench bench;
  bench.recorder.record({.kind = api::Kind::Network, .ns = "", .name = "lan"}, "", api::EventType::Normal, "Made", "bridge");
  REQUIRE(bench.stored().size() == 1);
  CHECK(bench.stored()[0].meta.ns == "default");
}

TEST_CASE("a repeat is counted and moves the last time, another message is another event") {
  RecorderBench bench;
  const auto first = bench.clock.wall();
  bench.say("StartFailed", "no such image");
  bench.clock.advance(seconds{10});
  bench.say("StartFailed", "no such image");
  CHECK(bench.only().count == 2);
  CHECK(bench.only().first_time == first);
  CHECK(bench.only().last_time == bench.clock.wall());
  bench.say("StartFailed", "no such kernel");
  CHECK(bench.stored().size() == 2);
}

TEST_CASE("a restarted daemon goes on counting") {
  RecorderBench bench;
  bench.say("StartFailed", "no such image");
  EventRecorder next(bench.objects, bench.clock);
  next.record(bench.web, bench.uid, api::EventType::Warning, "StartFailed", "no such image");
  CHECK(bench.only().count == 2);
}

TEST_CASE("a hot loop of one event costs a few writes and loses no count") {
  RecorderBench bench;
  for (int i = 0; i < 1'000; ++i) bench.say("StartFailed", "no such image");
  CHECK(bench.store.revision() == 10);
  CHECK(bench.only().count == 10);
  bench.recorder.flush();
  CHECK(bench.only().count == 1'000);
  bench.recorder.flush();
  CHECK(bench.store.revision() == 11);
}

TEST_CASE("a hot loop of ever new events stores 25, then one in five minutes, of this object alone") {
  RecorderBench bench;
  for (int i = 0; i < 1'000; ++i) bench.say("StartFailed", "attempt " + std::to_string(i));
  CHECK(bench.stored().size() == 25);
  CHECK(bench.recorder.dropped() == 975);
  bench.recorder.record({.kind = api::Kind::Image, .ns = "", .name = "demo"}, "", api::EventType::Normal, "Built", "in 2 s");
  CHECK(bench.stored().size() == 26);
  bench.clock.advance(milliseconds{299'000});
  bench.say("StartFailed", "too early");
  CHECK(bench.stored().size() == 26);
  bench.clock.advance(milliseconds{1'000});
  bench.say("StartFailed", "a token came back");
  bench.say("StartFailed", "but only one");
  CHECK(bench.stored().size() == 27);
}

TEST_CASE("an event that expired is stored anew") {
  RecorderBench bench;
  bench.say("StartFailed", "no such image");
  REQUIRE(bench.store.remove(api::key_of(bench.stored()[0]), std::nullopt));
  bench.say("StartFailed", "no such image");
  CHECK(bench.only().count == 1);
}

TEST_CASE("messages are made printable and are cut between characters") {
  RecorderBench bench;
  bench.say("Said", std::string("a\x1b[2J"));
  CHECK(bench.only().message.find('\x1b') == std::string::npos);
  REQUIRE(bench.store.remove(api::key_of(bench.stored()[0]), std::nullopt));
  std::string text = "x";
  for (int i = 0; i < 600; ++i) text += "ü";
  bench.say("Said", text);
  const auto message = bench.only().message;
  CHECK(message.size() <= 1024);
  CHECK(message.ends_with("..."));
  CHECK(text.starts_with(message.substr(0, message.size() - 3)));
  CHECK((message.size() - 3) % 2 == 1);
}

TEST_CASE("what a store could not write is counted with the next write") {
  RecorderBench bench;
  bench.store.broken = true;
  bench.say("StartFailed", "no such image");
  const auto first = bench.clock.wall();
  bench.clock.advance(seconds{10});
  bench.store.broken = false;
  bench.say("StartFailed", "no such image");
  CHECK(bench.only().count == 2);
  CHECK(bench.only().first_time == first);
  CHECK(bench.only().last_time == bench.clock.wall());
}

TEST_CASE("threads that record one event are all counted") {
  RecorderBench bench;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) bench.say("StartFailed", "no such image");
    });
  }
  for (auto& thread : threads) thread.join();
  bench.recorder.flush();  // with nobody else writing, nothing can be in its way
  CHECK(bench.only().count == 200);
}

}  // namespace
}  // namespace banger::controller
