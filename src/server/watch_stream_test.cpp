// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/text.hpp"
#include "server/rig.hpp"

using namespace banger;
using namespace banger::server;

namespace {

struct Line {
  std::string type;
  std::string name;
  std::string revision;
  std::string text;
};

// What the stream has to say now.
std::vector<Line> drain(Stream& stream, bool* ended = nullptr) {
  std::string bytes;
  for (;;) {
    const auto chunk = stream.next();
    bytes += chunk.bytes;
    if (ended != nullptr) *ended = chunk.end;
    if (!chunk.more || chunk.end) break;
  }
  std::vector<Line> lines;
  for (const auto line : split(bytes, '\n')) {
    if (line.empty()) continue;
    lines.push_back(
        {at(line, "type"), at(line, "object.metadata.name"), at(line, "object.metadata.resourceVersion"), std::string(line)});
  }
  return lines;
}

std::string told(const std::vector<Line>& lines) {
  std::string out;
  for (const auto& line : lines) out += (out.empty() ? "" : " ") + line.type + ":" + line.name;
  return out;
}

std::string watch(std::string_view query) { return fmt::format("{}?watch=true&{}", kVms, query); }

void relabel(Rig& rig, std::string_view name, std::string_view app) {
  REQUIRE(rig.objects.edit({api::Kind::VirtualMachine, "default", std::string(name)}, [&](api::Object& object) -> Result<void> {
    object.meta.labels["app"] = app;
    return {};
  }));
}

}  // namespace

TEST_CASE("a watch without a revision begins with what is there and goes on with what happens") {
  Rig rig;
  rig.put_vm("b");
  rig.put_vm("a");
  rig.put_vm("x", R"("namespace":"other")");
  const auto stream = rig.stream(watch(""));
  CHECK(stream->content_type() == "application/json");
  CHECK(told(drain(*stream)) == "ADDED:a ADDED:b");
  CHECK(drain(*stream).empty());
  relabel(rig, "a", "web");
  rig.put_vm("c");
  rig.put_vm("y", R"("namespace":"other")");
  CHECK(rig.ask("DELETE", std::string(kVms) + "/b").status == 200);
  const auto lines = drain(*stream);
  CHECK(told(lines) == "MODIFIED:a ADDED:c DELETED:b");
  CHECK(std::stoull(lines[0].revision) < std::stoull(lines[1].revision));
  CHECK(std::stoull(lines[1].revision) < std::stoull(lines[2].revision));
  CHECK(lines[2].revision == std::to_string(rig.store->revision()));
}

TEST_CASE("a watch from a revision tells what came after it, of its kind only") {
  Rig rig;
  const auto first = rig.put_vm("a");
  rig.put_vm("b");
  CHECK(rig.ask("POST", kNetworks, R"({"apiVersion":"banger.dev/v1alpha1","kind":"Network","metadata":{"name":"n"},"spec":{}})")
            .status == 201);
  CHECK(told(drain(*rig.stream(watch(fmt::format("resourceVersion={}", first.meta.resource_version))))) == "ADDED:b");
  CHECK(told(drain(*rig.stream("/apis/banger.dev/v1alpha1/networks?watch=1"))) == "ADDED:n");
}

TEST_CASE("objects that enter a selection are ADDED, those that leave it DELETED as they were") {
  Rig rig;
  rig.put_vm("a", R"("labels":{"app":"db"})");
  const auto stream = rig.stream(watch("labelSelector=app%3Dweb"));
  CHECK(drain(*stream).empty());
  relabel(rig, "a", "web");
  CHECK(told(drain(*stream)) == "ADDED:a");
  relabel(rig, "a", "db");
  const auto left = drain(*stream);
  REQUIRE(told(left) == "DELETED:a");
  CHECK(at(left[0].text, "object.metadata.labels.app") == "web");
  CHECK(left[0].revision == std::to_string(rig.store->revision()));
  relabel(rig, "a", "mail");
  CHECK(drain(*stream).empty());
  CHECK(rig.ask("DELETE", std::string(kVms) + "/a").status == 200);
  CHECK(drain(*stream).empty());
}

TEST_CASE("a watch of one name sees only that") {
  Rig rig;
  rig.put_vm("a");
  rig.put_vm("b");
  const auto stream = rig.stream(watch("fieldSelector=metadata.name%3Db&resourceVersion=0"));
  CHECK(told(drain(*stream)) == "ADDED:b");
  relabel(rig, "a", "x");
  relabel(rig, "b", "x");
  CHECK(told(drain(*stream)) == "MODIFIED:b");
}

TEST_CASE("WatchList ends its initial events with an annotated bookmark") {
  Rig rig;
  rig.put_vm("a");
  const auto stream =
      rig.stream(watch("resourceVersion=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"));
  const auto lines = drain(*stream);
  REQUIRE(told(lines) == "ADDED:a BOOKMARK:");
  CHECK(lines[1].text.find(R"("annotations":{"k8s.io/initial-events-end":"true"})") != std::string::npos);
  CHECK(at(lines[1].text, "object.kind") == "VirtualMachine");
  CHECK(std::stoull(lines[1].revision) >= 1);
  rig.put_vm("b");
  CHECK(told(drain(*stream)) == "ADDED:b");
}

TEST_CASE("parameters that contradict each other are refused before the stream") {
  Rig rig;
  rig.put_vm("a");
  CHECK(rig.get(watch("sendInitialEvents=true")).status == 422);
  CHECK(rig.get(watch("sendInitialEvents=true&resourceVersionMatch=Exact")).status == 422);
  CHECK(rig.get(watch("resourceVersionMatch=NotOlderThan")).status == 422);
  CHECK(rig.get(watch("resourceVersion=99")).status == 504);
  CHECK(rig.get(watch("resourceVersion=x")).status == 400);
  CHECK(rig.get(watch("timeoutSeconds=soon")).status == 400);
  CHECK(rig.get(watch("labelSelector=%3D")).status == 400);
}

TEST_CASE("bookmarks come in time and carry the revision that was reached") {
  Rig rig;
  rig.options.bookmark_interval = std::chrono::milliseconds(0);
  const auto first = rig.put_vm("a");
  const auto stream = rig.stream(watch(fmt::format("resourceVersion={}&allowWatchBookmarks=true", first.meta.resource_version)));
  rig.put({.meta = {.name = "n", .uid = "0f0f0f0f-0000-4000-8000-000000000001"}, .body = api::Network{}});
  const auto lines = drain(*stream);
  REQUIRE(told(lines) == "BOOKMARK:");
  CHECK(lines[0].revision == std::to_string(rig.store->revision()));
  CHECK(drain(*rig.stream(watch("resourceVersion=1"))).empty());
}

TEST_CASE("a watch ends after its timeout, with a last bookmark if it may") {
  TempDir dir;
  ManualClock clock;
  SeededRandom random{1};
  const auto store = store::make_memory_store();
  store::Objects objects(*store, clock, random);
  const ServerOptions options;
  const Hooks hooks;
  Handler handler(options, objects, hooks, clock);
  auto reply = handler.handle({.target = watch("timeoutSeconds=7&allowWatchBookmarks=true")});
  auto& stream = *std::get<std::unique_ptr<Stream>>(reply);
  bool ended = false;
  CHECK(drain(stream, &ended).empty());
  CHECK_FALSE(ended);
  CHECK(stream.look_again() - clock.steady() == std::chrono::seconds(7));
  clock.advance(std::chrono::seconds(7));
  CHECK(told(drain(stream, &ended)) == "BOOKMARK:");
  CHECK(ended);
}

TEST_CASE("a revision that was compacted is 410, before the stream or in it") {
  Rig rig;
  const auto first = rig.put_vm("a");
  rig.put_vm("b");
  const auto stream = rig.stream(watch(fmt::format("resourceVersion={}", first.meta.resource_version)));
  REQUIRE(rig.store->compact(rig.store->revision()));
  bool ended = false;
  const auto lines = drain(*stream, &ended);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].type == "ERROR");
  CHECK(at(lines[0].text, "object.code") == "410");
  CHECK(at(lines[0].text, "object.reason") == "Expired");
  CHECK(ended);
  const auto refused = rig.get(watch(fmt::format("resourceVersion={}", first.meta.resource_version)));
  CHECK(refused.status == 410);
}

TEST_CASE("a consumer that falls too far behind is told to list again") {
  Rig rig;
  rig.put_vm("a");
  const auto stream = rig.stream(watch("resourceVersion=1"));
  CHECK(drain(*stream).empty());
  for (int i = 0; i < 4200; ++i) relabel(rig, "a", fmt::format("v{}", i));
  bool ended = false;
  const auto lines = drain(*stream, &ended);
  REQUIRE_FALSE(lines.empty());
  CHECK(lines.back().type == "ERROR");
  CHECK(at(lines.back().text, "object.code") == "410");
  CHECK(ended);
}

TEST_CASE("a watch of tables sends one row an event, and the columns once") {
  Rig rig;
  rig.put_vm("a");
  const auto stream = rig.stream(watch("allowWatchBookmarks=true"), "application/json;as=Table;v=v1;g=meta.k8s.io");
  relabel(rig, "a", "x");
  const auto lines = drain(*stream);
  REQUIRE(lines.size() == 2);
  CHECK(at(lines[0].text, "object.kind") == "Table");
  CHECK(at(lines[0].text, "object.columnDefinitions.0.name") == "Name");
  CHECK(at(lines[0].text, "object.rows.0.cells.0") == "a");
  CHECK(at(lines[1].text, "object.columnDefinitions") == "null");
  CHECK(at(lines[1].text, "object.rows.0.object.metadata.labels.app") == "x");
}
