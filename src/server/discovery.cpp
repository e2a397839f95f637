// SPDX-License-Identifier: Apache-2.0
#include "server/discovery.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/object.hpp"

namespace banger::server {
namespace json = boost::json;
namespace {

json::object group() {
  const json::object version{{"groupVersion", api::kApiVersion}, {"version", api::kVersion}};
  return {{"name", api::kGroup}, {"versions", json::array{version}}, {"preferredVersion", version}};
}

json::array verbs_of(const api::KindInfo& kind) {
  if (kind.user_writable) return {"create", "delete", "get", "list", "patch", "update", "watch"};
  if (kind.kind == api::Kind::ManifestSource) return {"get", "list", "patch", "watch"};
  return {"get", "list", "watch"};
}

json::object resource(const api::KindInfo& kind) {
  json::object entry{{"name", kind.plural},
                     {"singularName", kind.singular},
                     {"namespaced", kind.namespaced},
                     {"kind", kind.name},
                     {"verbs", verbs_of(kind)}};
  if (!kind.short_name.empty()) entry["shortNames"] = json::array{kind.short_name};
  if (kind.user_writable) entry["categories"] = json::array{"banger"};
  return entry;
}

json::object subresource(const api::KindInfo& kind, std::string_view name) {
  return {{"name", fmt::format("{}/{}", kind.plural, name)},
          {"singularName", ""},
          {"namespaced", kind.namespaced},
          {"kind", kind.name},
          {"verbs", json::array{"get"}}};
}

}  // namespace

std::string api_versions() {
  return json::serialize(
      json::object{{"kind", "APIVersions"}, {"versions", json::array{}}, {"serverAddressByClientCIDRs", json::array{}}});
}

std::string api_groups() {
  return json::serialize(json::object{{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", json::array{group()}}});
}

std::string api_group() {
  auto document = group();
  document["kind"] = "APIGroup";
  document["apiVersion"] = "v1";
  return json::serialize(document);
}

std::string api_resources() {
  json::array resources;
  for (const auto& kind : api::kinds()) {
    resources.push_back(resource(kind));
    if (kind.kind != api::Kind::Event && kind.kind != api::Kind::AddressLease) resources.push_back(subresource(kind, "status"));
    if (kind.kind == api::Kind::VirtualMachine) resources.push_back(subresource(kind, "log"));
  }
  resources.push_back(json::object{{"name", "hostobjects"},
                                   {"singularName", "hostobject"},
                                   {"namespaced", false},
                                   {"kind", "HostObject"},
                                   {"verbs", json::array{"create", "list"}}});
  return json::serialize(json::object{{"kind", "APIResourceList"},
                                      {"apiVersion", "v1"},
                                      {"groupVersion", api::kApiVersion},
                                      {"resources", std::move(resources)}});
}

// Kubernetes clients parse gitVersion as a semantic version and compare it with their own, so it names the protocol level.
std::string version_document(std::string_view version) {
  return json::serialize(json::object{{"major", "1"},
                                      {"minor", "33"},
                                      {"gitVersion", fmt::format("v1.33.0+bangerd.{}", version)},
                                      {"platform", "linux/amd64"},
                                      {"bangerd", version}});
}

}  // namespace banger::server
