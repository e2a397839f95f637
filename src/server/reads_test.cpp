// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/codec.hpp"
#include "server/rig.hpp"
#include "server/table.hpp"

using namespace banger;
using namespace banger::server;

namespace {

constexpr std::string_view kTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

std::vector<std::string> names(const Response& response) {
  std::vector<std::string> out;
  const auto document = parsed(response.body);
  for (const auto& item : document.at("items").as_array()) {
    out.emplace_back(item.at("metadata").at("name").as_string());
  }
  return out;
}

std::string with(std::string_view query) { return fmt::format("{}?{}", kVms, query); }

}  // namespace

TEST_CASE("an object comes back as it was stored, with its type") {
  Rig rig;
  const auto vm = rig.put_vm("web", R"("labels":{"app":"web"})");
  const auto response = rig.get(std::string(kVms) + "/web");
  CHECK(response.status == 200);
  CHECK(response.content_type == "application/json");
  CHECK(response.body == api::encode_text(vm) + "\n");
  CHECK(at(response.body, "apiVersion") == "banger.dev/v1alpha1");
  CHECK(at(response.body, "kind") == "VirtualMachine");
  CHECK(rig.get(std::string(kVms) + "/web/status").body == response.body);
}

TEST_CASE("an object that is not there gets the 404 Status with its details") {
  Rig rig;
  const auto response = rig.get(std::string(kVms) + "/x");
  CHECK(response.status == 404);
  CHECK(at(response.body, "message") == "virtualmachines.banger.dev \"x\" not found");
  CHECK(at(response.body, "details.name") == "x");
  CHECK(at(response.body, "details.group") == "banger.dev");
  CHECK(at(response.body, "details.kind") == "virtualmachines");
}

TEST_CASE("lists hold what the namespace, labels and fields select, and their snapshot's revision") {
  Rig rig;
  rig.put_vm("a", R"("labels":{"app":"web"})");
  rig.put_vm("b", R"("labels":{"app":"db"})");
  rig.put_vm("c", R"("namespace":"other","labels":{"app":"web"})");
  CHECK(names(rig.get(kVms)) == std::vector<std::string>{"a", "b"});
  CHECK(names(rig.get("/apis/banger.dev/v1alpha1/virtualmachines")) == std::vector<std::string>{"a", "b", "c"});
  CHECK(names(rig.get(with("labelSelector=app%3Dweb"))) == std::vector<std::string>{"a"});
  CHECK(names(rig.get("/apis/banger.dev/v1alpha1/virtualmachines?labelSelector=app+in+(web)")) ==
        std::vector<std::string>{"a", "c"});
  CHECK(names(rig.get(with("fieldSelector=metadata.name%3Db&limit=500"))) == std::vector<std::string>{"b"});
  CHECK(names(rig.get("/apis/banger.dev/v1alpha1/namespaces/none/virtualmachines")).empty());
  const auto listed = rig.get(kVms);
  CHECK(at(listed.body, "kind") == "VirtualMachineList");
  CHECK(at(listed.body, "metadata.resourceVersion") == std::to_string(rig.store->revision()));
}

TEST_CASE("resourceVersion rules of lists") {
  Rig rig;
  rig.put_vm("a");
  rig.put_vm("b");
  const auto now = rig.store->revision();
  CHECK(rig.get(with("resourceVersion=0")).status == 200);
  CHECK(rig.get(with("resourceVersion=1&resourceVersionMatch=NotOlderThan")).status == 200);
  CHECK(rig.get(with(fmt::format("resourceVersion={}&resourceVersionMatch=Exact", now))).status == 200);
  const auto old = rig.get(with("resourceVersion=1&resourceVersionMatch=Exact"));
  CHECK(old.status == 410);
  CHECK(at(old.body, "reason") == "Expired");
  const auto future = rig.get(with(fmt::format("resourceVersion={}", now + 5)));
  CHECK(future.status == 504);
  CHECK(at(future.body, "message") == fmt::format("Too large resource version: {}, current: {}", now + 5, now));
  CHECK(at(future.body, "details.causes.0.reason") == "ResourceVersionTooLarge");
  CHECK(rig.get(with("resourceVersionMatch=Exact")).status == 422);
  CHECK(rig.get(with("resourceVersion=1&resourceVersionMatch=Nearly")).status == 422);
  CHECK(rig.get(with("sendInitialEvents=true")).status == 422);
  CHECK(rig.get(with("continue=abc")).status == 410);
  CHECK(rig.get(with("resourceVersion=-1")).status == 400);
  CHECK(rig.get(with("resourceVersion=banana")).status == 400);
}

TEST_CASE("wrong selectors get 400 with the reason") {
  Rig rig;
  CHECK(at(rig.get(with("fieldSelector=spec.cpus%3D1")).body, "message") == "field label not supported: spec.cpus");
  CHECK(rig.get(with("fieldSelector=spec.cpus%3D1")).status == 400);
  CHECK(rig.get(with("labelSelector=%3D")).status == 400);
}

TEST_CASE("Accept is walked in order and q is ignored") {
  Rig rig;
  rig.put_vm("web");
  const auto target = std::string(kVms) + "/web";
  const auto kind = [&](std::string_view accept) { return at(rig.get(target, accept).body, "kind"); };
  CHECK(kind("") == "VirtualMachine");
  CHECK(kind("*/*") == "VirtualMachine");
  CHECK(kind("application/json, */*") == "VirtualMachine");
  CHECK(kind("application/vnd.kubernetes.protobuf,application/json") == "VirtualMachine");
  CHECK(kind(kTable) == "Table");
  CHECK(kind("application/json;q=0.1, application/json;as=Table;v=v1;g=meta.k8s.io") == "VirtualMachine");
  CHECK(kind("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1") == "PartialObjectMetadata");
  CHECK(at(rig.get(kVms, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").body, "kind") ==
        "PartialObjectMetadataList");
  const auto none = rig.get(target, "text/html, application/yaml");
  CHECK(none.status == 406);
  CHECK(at(none.body, "reason") == "NotAcceptable");
}

TEST_CASE("tables have a cell a column, ages in words, and the object as asked") {
  Rig rig;
  auto vm = rig.put_vm("web", R"("labels":{"app":"web"})");
  const auto table = rig.get(kVms, kTable);
  CHECK(at(table.body, "columnDefinitions.0.name") == "Name");
  CHECK(at(table.body, "columnDefinitions.0.format") == "name");
  const auto document = parsed(table.body);
  const auto columns = document.at("columnDefinitions").as_array().size();
  CHECK(columns == columns_of(api::Kind::VirtualMachine).size());
  const auto& row = document.at("rows").as_array().at(0);
  CHECK(row.at("cells").as_array().size() == columns);
  CHECK(row.at("cells").as_array()[0].as_string() == "web");
  CHECK(row.at("cells").as_array()[1].as_string() == "Pending");
  CHECK(row.at("cells").as_array()[4].as_string() == "<none>");
  CHECK(row.at("object").at("kind").as_string() == "PartialObjectMetadata");
  CHECK(row.at("object").at("metadata").at("labels").at("app").as_string() == "web");
  CHECK_FALSE(row.at("object").as_object().contains("spec"));
  CHECK(at(rig.get(with("includeObject=Object"), kTable).body, "rows.0.object.spec.image") == "demo");
  CHECK_FALSE(parsed(rig.get(with("includeObject=None"), kTable).body).at("rows").as_array()[0].as_object().contains("object"));
  CHECK(rig.get(with("includeObject=Half"), kTable).status == 400);
  CHECK(at(rig.get(std::string(kVms) + "/web", kTable).body, "rows.0.cells.0") == "web");
}

TEST_CASE("what is observed of a virtual machine stands in its row") {
  Rig rig;
  rig.put_vm("web");
  const auto edited =
      rig.objects.edit_status({api::Kind::VirtualMachine, "default", "web"}, [](api::Object& object) -> Result<void> {
        auto& status = std::get<api::VirtualMachine>(object.body).status;
        status.phase = "Running";
        status.conditions = {{.type = "Ready", .status = api::ConditionStatus::True, .reason = "GuestAnswers"}};
        status.network_interfaces = {{.network = "default", .tap = "bgrx-0", .address = "10.63.0.2/24"}};
        status.vmm = api::VmmStatus{.driver = "qemu", .version = "7.2", .accelerator = "tcg", .pid = 42};
        status.pending_changes = {{.field = "spec.memory", .update_class = "Restart"}, {.field = "spec.cpus"}};
        status.restart_count = 3;
        status.disks = {{.name = "root", .backend = "dm-snapshot", .cow_size = mib(64), .cow_used_percent = 12}};
        return {};
      });
  REQUIRE(edited);
  const auto table = rig.get(kVms, kTable).body;
  const std::string expected[] = {"web", "Running", "True", "3", "10.63.0.2"};
  for (std::size_t i = 0; i < 5; ++i) CHECK(at(table, fmt::format("rows.0.cells.{}", i)) == expected[i]);
  const std::string wide[] = {
      "1",           "256Mi",      "demo", "host", "qemu 7.2", "tcg", "42", "spec.memory,spec.cpus", "GuestAnswers",
      "dm-snapshot", "12% of 64Mi"};
  for (std::size_t i = 0; i < std::size(wide); ++i) CHECK(at(table, fmt::format("rows.0.cells.{}", i + 6)) == wide[i]);

  const std::pair<const char*, const char*> states[] = {{"RootDiskFull", "Overflow of 64Mi"},
                                                        {"RootDiskInvalid", "Invalid, 64Mi"}};
  for (const auto& [type, cell] : states) {
    REQUIRE(rig.objects.edit_status({api::Kind::VirtualMachine, "default", "web"}, [&](api::Object& object) -> Result<void> {
      auto& status = std::get<api::VirtualMachine>(object.body).status;
      status.conditions = {{.type = type, .status = api::ConditionStatus::True, .reason = "Snapshot"}};
      status.disks[0].cow_used_percent = 100;
      return {};
    }));
    CHECK(at(rig.get(kVms, kTable).body, "rows.0.cells.16") == cell);
  }
}

TEST_CASE("every kind has a table whose cells are text or numbers") {
  Rig rig;
  const auto now = rig.clock.wall();
  for (const auto& kind : api::kinds()) {
    CAPTURE(kind.name);
    const auto columns = columns_of(kind.kind);
    REQUIRE_FALSE(columns.empty());
    CHECK(std::ranges::any_of(columns, [](const Column& c) { return c.format == "name"; }));
  }
  for (const api::Body& body :
       {api::Body(api::Network{}), api::Body(api::Kernel{}), api::Body(api::Image{}), api::Body(api::VirtualMachine{}),
        api::Body(api::AddressLease{}), api::Body(api::ManifestSource{}), api::Body(api::Event{})}) {
    const api::Object object{.meta = {.name = "x"}, .body = body};
    for (const auto& column : columns_of(api::kind_of(object))) {
      const auto cell = column.cell(object, now);
      CAPTURE(column.name);
      CHECK((cell.is_string() || cell.is_int64() || cell.is_uint64()));
    }
  }
}

TEST_CASE("ages read as kubectl writes them") {
  using namespace std::chrono;
  const std::pair<seconds, const char*> cases[] = {
      {seconds(-5), "0s"},     {seconds(0), "0s"},        {seconds(119), "119s"},     {seconds(120), "2m"},
      {seconds(135), "2m15s"}, {minutes(10), "10m"},      {minutes(179), "179m"},     {hours(3), "3h"},
      {minutes(185), "3h5m"},  {hours(9), "9h"},          {hours(47), "47h"},         {hours(48), "2d"},
      {hours(50), "2d2h"},     {hours(24 * 9 + 5), "9d"}, {hours(24 * 800), "2y70d"}, {hours(24 * 365 * 9), "9y"}};
  for (const auto& [age, text] : cases) CHECK(human_duration(age) == text);
}

TEST_CASE("serial logs need a machine and a daemon that keeps them") {
  Rig rig;
  const auto log = std::string(kVms) + "/web/log";
  CHECK(rig.get(log).status == 404);
  rig.put_vm("web");
  const auto none = rig.get(log);
  CHECK(none.status == 503);
  CHECK(std::ranges::find(none.headers, std::pair<std::string, std::string>("Retry-After", "1")) != none.headers.end());
  rig.hooks.serial_log_path = [](const api::Object&) -> Result<std::string> { return fail(not_found("no directory")); };
  CHECK(rig.get(log).status == 404);
  rig.hooks.serial_log_path = [&](const api::Object& vm) -> Result<std::string> { return rig.dir.file(vm.meta.name + ".log"); };
  CHECK(rig.get(log + "?tailLines=x").status == 400);
  const auto previous = rig.get(log + "?previous=true");
  CHECK(previous.status == 404);
  CHECK(at(previous.body, "message").find("no previous part") != std::string::npos);
  CHECK(rig.stream(log)->next().end);
}
