// SPDX-License-Identifier: Apache-2.0
// bangerctl gc and the host's part of describe, against a server whose host is told by the test.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <mutex>
#include <vector>

#include "cli/rig.hpp"
#include "server/rig.hpp"

using namespace banger;
using namespace banger::cli;

namespace {

const std::string kTap = R"({"type":"tap","name":"bgrx-0","uid":"u1","belonging":"Ours","label":"alias","recorded":true,)"
                         R"("fate":"Kept","reason":"","owner":{"kind":"VirtualMachine","namespace":"default","name":"web"}})";
const std::string kOrphan = R"({"type":"VM directory","name":"/s/vms/u2","uid":"u2","belonging":"Ours","label":"path",)"
                            R"("fate":"NeedsConfirmation","reason":"orphan: it holds data","holdsData":true,)"
                            R"("of":{"kind":"VirtualMachine","namespace":"default","name":"old"}})";
const std::string kForeign =
    R"({"type":"bridge","name":"bgbx","belonging":"Foreign","fate":"LeftAlone","reason":"bangerd did not make it"})";

std::string list_of(const std::string& items, const std::string& more = "") {
  return fmt::format(R"({{"kind":"HostObjectList","apiVersion":"banger.dev/v1alpha1","items":[{}]{}}})", items, more);
}

struct GcDaemon {
  server::TempDir dir;
  SystemClock clock;
  SystemRandom random;
  std::unique_ptr<store::Store> store = store::make_memory_store();
  store::Objects objects{*store, clock, random};
  std::string socket = dir.file("bangerd.sock");
  std::mutex mutex;
  std::string seen = list_of("");
  std::vector<std::string> answers;  // of POSTs, in order; the last one stays
  std::vector<server::Collection> asked;
  server::Server server{{.socket_path = socket, .version = "0.1.0"},
                        objects,
                        {.host_objects = [this]() -> Result<std::string> { return seen; },
                         .collect = [this](const server::Collection& asked_for) -> Result<std::string> {
                           const std::lock_guard lock(mutex);
                           asked.push_back(asked_for);
                           if (answers.empty())
                             return fail(Error{ErrorCode::Conflict, "adopt mode: manifests were not read yet"});
                           return answers.at(std::min(asked.size(), answers.size()) - 1);
                         }},
                        clock};
  GcDaemon() { REQUIRE(server.start()); }
  Said run(std::vector<std::string> arguments) const {
    return run_program(BANGERCTL, {std::move(arguments), "", {"BANGER_SOCKET=" + socket}, ""});
  }
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("gc --dry-run says of everything whose it is, how that is known, and what happens, and removes nothing") {
  GcDaemon daemon;
  daemon.seen = list_of(kTap + "," + kOrphan + "," + kForeign);
  const auto said = daemon.run({"gc", "--dry-run"});
  CHECK(said.exit_code == 0);
  CHECK(golden_difference("gc_dry_run.txt", said.out) == "");
  CHECK(daemon.asked.empty());
  CHECK(has(daemon.run({"gc", "--dry-run", "-o", "json"}).out, "\"fate\": \"NeedsConfirmation\""));
  CHECK(has(daemon.run({"gc", "--dry-run", "-o", "yaml"}).out, "kind: HostObjectList"));
  CHECK(daemon.asked.empty());
}

TEST_CASE("gc collects until nothing more goes, and says what is left and what that needs") {
  GcDaemon daemon;
  daemon.answers = {list_of(kOrphan, R"(,"done":["RemoveLink bgry-0"],"unfinished":true)"), list_of(kOrphan)};
  const auto said = daemon.run({"gc"});
  CHECK(said.exit_code == 0);
  CHECK(daemon.asked.size() == 2);
  CHECK_FALSE(daemon.asked.at(0).everything);
  CHECK(said.out ==
        "RemoveLink bgry-0\n"
        "left: VM directory /s/vms/u2: it holds data: goes with bangerctl gc --yes\n"
        "living machines are ended and data is deleted only with: bangerctl gc --yes\n");
}

TEST_CASE("gc --yes asks for everything, a step that failed is an error") {
  GcDaemon daemon;
  daemon.answers = {list_of("", R"(,"done":["RemoveVmDirectory u2"])")};
  auto said = daemon.run({"gc", "--yes"});
  CHECK(said.exit_code == 0);
  CHECK(said.out == "RemoveVmDirectory u2\nno orphans are left\n");
  CHECK(daemon.asked.at(0).everything);
  daemon.answers = {list_of(kOrphan, R"(,"failed":["RemoveLink bgry-0: busy"])")};
  said = daemon.run({"gc", "--yes"});
  CHECK(said.exit_code == 1);
  CHECK(has(said.out, "cannot go on: RemoveLink bgry-0: busy\n"));
}

TEST_CASE("gc in adopt mode says so, and --confirm ends it and does nothing else") {
  GcDaemon daemon;
  const auto refused = daemon.run({"gc"});
  CHECK(refused.exit_code == 1);
  CHECK(has(refused.err, "adopt mode: manifests were not read yet"));
  daemon.seen = list_of(kOrphan, R"(,"adoptMode":"manifests were not read yet")");
  CHECK(has(daemon.run({"gc", "--dry-run"}).err, "bangerctl gc --confirm"));
  daemon.asked.clear();
  daemon.answers = {list_of("")};
  CHECK(daemon.run({"gc", "--confirm"}).exit_code == 0);
  REQUIRE(daemon.asked.size() == 1);
  CHECK(daemon.asked[0].end_adopt_mode);
  CHECK_FALSE(daemon.asked[0].everything);
  CHECK(daemon.run({"gc", "--confirm", "--yes"}).exit_code == 2);
}

TEST_CASE("describe shows what is on the host of a machine, and by what each was found") {
  GcDaemon daemon;
  auto vm =
      api::Object{.meta = {.name = "web", .ns = "default"}, .body = api::VirtualMachine{.spec = {.image = "demo"}, .status = {}}};
  const auto created = daemon.objects.create(vm);
  REQUIRE(created);
  const auto& uid = created->meta.uid;
  const auto loop =
      fmt::format(R"({{"type":"loop","name":"/dev/loop1","uid":"u9","label":"backing file","inUse":"banger-{}-root"}})", uid);
  const auto tap = fmt::format(R"({{"type":"tap","name":"bgrx-0","uid":"{}","label":"alias","recorded":true}})", uid);
  const auto node =
      fmt::format(R"({{"type":"dm node","name":"banger-x-root","uid":"{}","recorded":true,"inUse":"1 opener"}})", uid);
  daemon.seen = list_of(tap + "," + node + "," + loop + "," + kOrphan);
  const auto said = daemon.run({"describe", "vm", "web"});
  CHECK(said.exit_code == 0);
  CHECK(has(said.out, "\nOn the host:\n"));
  CHECK(has(said.out, "label (alias) and record"));
  CHECK(has(said.out, "label (backing file)"));
  CHECK(has(said.out, "1 opener"));
  CHECK_FALSE(has(said.out, "/s/vms/u2"));
}
