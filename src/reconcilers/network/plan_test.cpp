// SPDX-License-Identifier: Apache-2.0
// Golden plans of a Network's repairs: each case is a network as it should be with one thing off, its plan is
// testdata/plans/network/<name>.txt.
#include "reconcilers/network/plan.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "actuators/names.hpp"
#include "actuators/record.hpp"
#include "base/files.hpp"
#include "base/inet.hpp"

namespace banger::reconcilers::network {
namespace {

namespace fs = std::filesystem;

const fs::path kCases = fs::path(BANGER_SOURCE_DIR) / "testdata/plans/network";
const std::string kUid = "3c9a4f6e-1b2d-4c3e-8f70-112233445566";
const std::string kBridge = actuators::bridge_name(kUid);

struct Given {
  api::Object object;
  Observed observed;

  Given() {
    object.meta.name = "lan";
    object.meta.uid = kUid;
    object.meta.finalizers = {std::string(kTeardownFinalizer)};
    api::Network network{.spec = {.cidr = "10.9.0.0/24"}, .status = {}};
    network.status.cidr = "10.9.0.0/24";
    network.status.gateway = "10.9.0.1";
    network.status.bridge = kBridge;
    object.body = std::move(network);
    auto& host = observed.host;
    host.uid = kUid;
    host.directory_exists = true;
    host.record.object = actuators::record_of(object);
    host.links = {{.name = kBridge,
                   .index = 7,
                   .kind = "bridge",
                   .alias = "banger:uid=" + kUid,
                   .owner = kUid,
                   .master = "",
                   .up = true,
                   .mtu = 1500,
                   .addresses = {"10.9.0.1/24"}}};
    host.nat = actuators::NatView{.table = actuators::nat_table_name(kUid),
                                  .comment = "banger:uid=" + kUid,
                                  .owner = kUid,
                                  .bridge = kBridge,
                                  .cidr = "10.9.0.0/24"};
    host.forwarding = true;
  }
  actuators::LinkView& bridge() { return observed.host.links.front(); }
  api::Network& network() { return std::get<api::Network>(object.body); }
};

struct Case {
  const char* name;
  std::function<void(Given&)> change;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> kAll{
      {"01-as-it-should-be", [](Given&) {}},
      {"02-bridge-gone", [](Given& g) { g.observed.host.links.clear(); }},
      {"03-bridge-down", [](Given& g) { g.bridge().up = false; }},
      {"04-address-lost", [](Given& g) { g.bridge().addresses.clear(); }},
      {"05-address-added", [](Given& g) { g.bridge().addresses.emplace_back("192.0.2.1/24"); }},
      {"06-mtu-changed", [](Given& g) { g.bridge().mtu = 9000; }},
      {"07-ruleset-flushed", [](Given& g) { g.observed.host.nat.reset(); }},
      {"08-rules-changed", [](Given& g) { g.observed.host.nat->bridge.clear(); }},
      {"09-forwarding-off", [](Given& g) { g.observed.host.forwarding = false; }},
      {"10-all-gone",
       [](Given& g) {
         g.observed.host.links.clear();
         g.observed.host.nat.reset();
         g.observed.host.forwarding = false;
         g.observed.host.record.object.reset();
         g.observed.host.directory_exists = false;
       }},
      {"11-record-lost", [](Given& g) { g.observed.host.record.object.reset(); }},
      {"12-record-unreadable",
       [](Given& g) {
         g.observed.host.record = {.object = std::nullopt, .error = "object.json is writable by others (mode 0666)"};
       }},
      {"13-status-lost", [](Given& g) { g.network().status = {}; }},
      {"14-foreign-bridge",
       [](Given& g) {
         g.bridge().owner.clear();
         g.bridge().alias = "uplink";
       }},
      {"15-foreign-table", [](Given& g) { g.observed.host.nat->owner.clear(); }},
      {"16-nat-not-wanted",
       [](Given& g) {
         g.network().spec.nat = api::NatMode::Disabled;
         g.observed.host.record.object = actuators::record_of(g.object);
       }},
      {"17-bridge-of-an-older-name",
       [](Given& g) {
         auto old = g.bridge();
         old.name = "br-old";
         g.observed.host.links.push_back(std::move(old));
       }},
      {"18-route-over-a-network-that-stands",
       [](Given& g) { g.observed.host.routes = {{.destination = *parse_cidr("10.9.0.0/16"), .link = "eth0"}}; }},
      {"19-route-before-anything-stands",
       [](Given& g) {
         g.network().status = {};
         g.observed.host.links.clear();
         g.observed.host.nat.reset();
         g.observed.host.routes = {{.destination = *parse_cidr("10.9.0.0/16"), .link = "eth0"}};
       }},
      {"20-deleted-in-use",
       [](Given& g) {
         g.object.meta.deletion_time = WallTime{};
         g.observed.host.record.object = actuators::record_of(g.object);
         g.observed.users = {"default/web"};
       }},
      {"21-deleted", [](Given& g) { g.object.meta.deletion_time = WallTime{}; }},
      {"22-deleted-beside-foreign-things",
       [](Given& g) {
         g.object.meta.deletion_time = WallTime{};
         g.bridge().owner.clear();
         g.observed.host.nat->owner.clear();
       }},
      {"23-deleted-all-gone",
       [](Given& g) {
         g.object.meta.deletion_time = WallTime{};
         g.observed.host = {.uid = kUid};
       }},
  };
  return kAll;
}

std::string text_of(const Plan& plan) {
  static constexpr std::array<std::string_view, 3> kFinalizer{"Keep", "Add", "Remove"};
  static constexpr std::array<std::string_view, 3> kStatus{"True", "False", "Unknown"};
  auto out = fmt::format("finalizer: {}\ntakes: {}, gateway {}, bridge {}\n",
                         kFinalizer.at(static_cast<std::size_t>(plan.finalizer)), plan.cidr, plan.gateway, plan.bridge);
  for (const auto& each : plan.steps) out += fmt::format("step: {}: {}\n", each.name, actuators::describe(each.step));
  for (const auto& each : plan.findings)
    out += fmt::format("condition: {}={} {}: {}\n", each.type, kStatus.at(static_cast<std::size_t>(each.status)), each.reason,
                       each.message);
  for (const auto& each : plan.events)
    out +=
        fmt::format("event: {} {}: {}\n", each.type == api::EventType::Normal ? "Normal" : "Warning", each.reason, each.message);
  return out + fmt::format("look again: {}\n", plan.look_again ? fmt::format("{} ms", plan.look_again->count()) : "on change");
}

TEST_CASE("every golden case of a network plans what its file says") {
  const bool update = std::getenv("BANGER_UPDATE_GOLDENS") != nullptr;
  std::set<std::string> files;
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    Given given;
    each.change(given);
    const auto plan = plan_for(given.object, given.observed);
    CHECK(plan == plan_for(given.object, given.observed));
    const auto got = text_of(plan);
    const auto file = kCases / fmt::format("{}.txt", each.name);
    files.insert(file.filename().string());
    if (update) {
      std::ofstream(file) << got;
      continue;
    }
    const auto expected = read_file(file, kib(64));
    REQUIRE_MESSAGE(expected.has_value(), file.string());
    CHECK_MESSAGE(*expected == got, fmt::format("{} expected:\n{}planned:\n{}if that is right: BANGER_UPDATE_GOLDENS=1 "
                                                "build/src/reconcilers/test_reconcilers -tc='every golden case*'",
                                                each.name, *expected, got));
  }
  for (const auto& entry : fs::directory_iterator(kCases)) CHECK(files.contains(entry.path().filename().string()));
}

}  // namespace
}  // namespace banger::reconcilers::network
