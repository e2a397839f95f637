// SPDX-License-Identifier: Apache-2.0
#include "server/handler.hpp"

#include <doctest/doctest.h>

#include <boost/json.hpp>

#include "server/rig.hpp"

using namespace banger;
using namespace banger::server;

TEST_CASE("the fixed pages answer") {
  Rig rig;
  rig.options.version = "1.2.3";
  CHECK(at(rig.get("/version").body, "gitVersion") == "v1.33.0+bangerd.1.2.3");
  CHECK(at(rig.get("/version").body, "bangerd") == "1.2.3");
  CHECK(rig.get("/livez").body == "ok\n");
  CHECK(rig.get("/healthz").body == "ok\n");
  CHECK(at(rig.get("/api").body, "versions") == "[]");
  CHECK(at(rig.get("/apis").body, "groups.0.preferredVersion.groupVersion") == "banger.dev/v1alpha1");
  CHECK(at(rig.get("/apis/banger.dev").body, "kind") == "APIGroup");
  rig.hooks.metrics_text = [] { return std::string("banger_up 1\n"); };
  const auto metrics = rig.get("/metrics?x=1");
  CHECK(metrics.body == "banger_up 1\n");
  CHECK(metrics.content_type == "text/plain; version=0.0.4; charset=utf-8");
}

TEST_CASE("host objects are listed and collected through the daemon's own hooks, and asked for in one way only") {
  Rig rig;
  constexpr const char* kPath = "/apis/banger.dev/v1alpha1/hostobjects";
  CHECK(rig.get(kPath).status == 503);
  std::vector<Collection> asked;
  rig.hooks.host_objects = [] { return Result<std::string>(R"({"kind":"HostObjectList","items":[]})"); };
  rig.hooks.collect = [&](const Collection& collection) -> Result<std::string> {
    asked.push_back(collection);
    if (asked.size() == 3) return fail(Error{ErrorCode::Conflict, "adopt mode: wait"});
    return R"({"kind":"HostObjectList","items":[],"done":["x"]})";
  };
  CHECK(at(rig.get(kPath).body, "kind") == "HostObjectList");
  CHECK(at(rig.ask("POST", kPath).body, "done.0") == "x");
  CHECK_FALSE(asked.at(0).everything);
  CHECK(rig.ask("POST", kPath, R"({"everything":true})", "application/json").status == 200);
  CHECK(asked.at(1).everything);
  CHECK_FALSE(asked.at(1).end_adopt_mode);
  const auto refused = rig.ask("POST", kPath, R"({"endAdoptMode":true})", "application/json");
  CHECK(asked.at(2).end_adopt_mode);
  CHECK(refused.status == 409);
  CHECK(at(refused.body, "message") == "adopt mode: wait");
  for (const auto* body : {"[]", "{", R"({"everything":1})", R"({"every":true})"}) {
    CAPTURE(body);
    CHECK(rig.ask("POST", kPath, body, "application/json").status == 400);
  }
  CHECK(rig.ask("POST", kPath, "{}", "text/plain").status == 415);
  CHECK(rig.ask("DELETE", kPath).status == 405);
  CHECK(asked.size() == 3);
  rig.hooks.host_objects = []() -> Result<std::string> { return fail(Error{ErrorCode::Denied, "not root"}); };
  CHECK(rig.get(kPath).status == 503);
}

TEST_CASE("readyz follows the daemon, healthz does not") {
  Rig rig;
  CHECK(rig.get("/readyz").status == 200);
  rig.hooks.ready = [] { return false; };
  CHECK(rig.get("/readyz").status == 503);
  CHECK(rig.get("/healthz").status == 200);
}

TEST_CASE("readyz tells of adopt mode beside ok, and is ready all the same") {
  Rig rig;
  rig.hooks.notice = [] { return std::string("adopt mode: the database was gone"); };
  CHECK(rig.get("/readyz").status == 200);
  CHECK(rig.get("/readyz").body == "ok\nadopt mode: the database was gone\n");
  CHECK(rig.get("/healthz").body == "ok\n");
  rig.hooks.notice = [] { return std::string(); };
  CHECK(rig.get("/readyz").body == "ok\n");
}

TEST_CASE("discovery lists every kind with its scope and the verbs that clients have") {
  Rig rig;
  const auto resources = parsed(rig.get("/apis/banger.dev/v1alpha1").body).at("resources").as_array();
  for (const auto& kind : api::kinds()) {
    const auto it = std::ranges::find_if(resources, [&](const auto& r) { return r.at("name").as_string() == kind.plural; });
    REQUIRE(it != resources.end());
    CHECK(it->at("kind").as_string() == kind.name);
    CHECK(it->at("namespaced").as_bool() == kind.namespaced);
    const auto& verbs = it->at("verbs").as_array();
    CHECK((std::ranges::find(verbs, boost::json::value("create")) != verbs.end()) == kind.user_writable);
    CHECK(std::ranges::find(verbs, boost::json::value("watch")) != verbs.end());
  }
}

TEST_CASE("unknown paths get the 404 Status that clients know") {
  Rig rig;
  for (const auto* path :
       {"/", "/nothing", "/api/v1", "/apis/apps", "/apis/banger.dev/v1", "/apis/banger.dev/v1alpha1/pods",
        "/apis/banger.dev/v1alpha1/vm", "/apis/banger.dev/v1alpha1/virtualmachines/web",
        "/apis/banger.dev/v1alpha1/namespaces/default/networks",
        "/apis/banger.dev/v1alpha1/namespaces/default/virtualmachines/web/exec", "/apis/banger.dev/v1alpha1/networks/default/log",
        "/apis/banger.dev/v1alpha1/networks/default/status/x", "/apis/banger.dev/v1alpha1/namespaces/default",
        "/apis/banger.dev/v1alpha1/namespaces", "/apis/banger.dev/v1alpha1/namespaces/A%20b/virtualmachines"}) {
    CAPTURE(path);
    const auto response = rig.get(path);
    CHECK(response.status == 404);
    CHECK(at(response.body, "kind") == "Status");
    CHECK(at(response.body, "message") == "the server could not find the requested resource");
    CHECK(at(response.body, "reason") == "NotFound");
    CHECK(at(response.body, "code") == "404");
  }
}

TEST_CASE("a name that no object can have is not found, whatever it holds") {
  Rig rig;
  for (const auto* name : {"..", "%2e%2e%2fx", "A", "a%2Fb", "%1b%5b2J"}) {
    CAPTURE(name);
    const auto response = rig.get(std::string(kNetworks) + "/" + name);
    CHECK(response.status == 404);
    CHECK(at(response.body, "details.kind") == "networks");
  }
}

TEST_CASE("wrong methods get 405 and the ones that are allowed") {
  Rig rig;
  rig.put_vm("web");
  const auto vms = std::string(kVms);
  struct Case {
    std::string method, target, allow;
  };
  const Case cases[] = {{"POST", "/version", "GET"},
                        {"DELETE", vms, "GET, POST"},
                        {"POST", vms + "/web", "GET, PUT, PATCH, DELETE"},
                        {"OPTIONS", vms + "/web", "GET, PUT, PATCH, DELETE"},
                        {"PUT", vms + "/web/status", "GET"},
                        {"PATCH", vms + "/web/status", "GET"},
                        {"DELETE", vms + "/web/log", "GET"},
                        {"POST", "/apis/banger.dev/v1alpha1/virtualmachines", "GET"},
                        {"POST", "/apis/banger.dev/v1alpha1/namespaces/default/events", "GET"},
                        {"DELETE", "/apis/banger.dev/v1alpha1/addressleases/x", "GET"},
                        {"PUT", "/apis/banger.dev/v1alpha1/manifestsources/x", "GET, PATCH"}};
  for (const auto& one : cases) {
    CAPTURE(one.method);
    CAPTURE(one.target);
    const auto response = rig.ask(one.method, one.target, "{}", "application/json");
    CHECK(response.status == 405);
    CHECK(at(response.body, "reason") == "MethodNotAllowed");
    const auto allow = std::ranges::find(response.headers, std::pair<std::string, std::string>("Allow", one.allow));
    CHECK(allow != response.headers.end());
  }
}
