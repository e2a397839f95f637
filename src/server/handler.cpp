// SPDX-License-Identifier: Apache-2.0
#include "server/handler.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "server/discovery.hpp"

namespace banger::server {
namespace {

// What an object's or a namespace's name may be made of; anything else cannot name a stored object.
bool could_be_a_name(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

const api::KindInfo* find_plural(std::string_view plural) {
  const auto kinds = api::kinds();
  const auto it = std::ranges::find(kinds, plural, &api::KindInfo::plural);
  return it == kinds.end() ? nullptr : &*it;
}

Response text_page(std::string body) { return {.content_type = "text/plain; charset=utf-8", .body = std::move(body)}; }
Response json_page(std::string body) { return {.body = std::move(body) + "\n"}; }

StatusError wrong_method(const Request& request, std::string_view allow) {
  return method_not_allowed(fmt::format("the method {} is not allowed here; allowed: {}", printable(request.method), allow),
                            std::string(allow));
}

// A sentence on why clients may not write the kind, or on why they may not write this part of it.
StatusError not_for_clients(const Resource& resource) {
  if (resource.kind->kind == api::Kind::ManifestSource) {
    return method_not_allowed("manifestsources are written by bangerd only; PATCH may set spec.confirmedPruneToken",
                              "GET, PATCH");
  }
  return method_not_allowed(fmt::format("{} are written by bangerd only; read them with GET", resource.kind->plural), "GET");
}

}  // namespace

Answer<Resource> find_resource(std::span<const std::string> segments) {
  Resource resource;
  if (segments.size() >= 3 && segments[0] == "namespaces") {
    resource.ns = segments[1];
    segments = segments.subspan(2);
  }
  if (segments.empty() || segments.size() > 3) return refuse(no_such_path());
  resource.kind = find_plural(segments[0]);
  if (resource.kind == nullptr) return refuse(no_such_path());
  if (!resource.ns.empty() && !resource.kind->namespaced) return refuse(no_such_path());
  if (segments.size() >= 2) resource.name = segments[1];
  if (segments.size() == 3) resource.subresource = segments[2];
  // An object of a namespaced kind is named below its namespace only.
  if (!resource.name.empty() && resource.kind->namespaced && resource.ns.empty()) return refuse(no_such_path());
  if (segments.size() == 3 && resource.subresource != "status" &&
      !(resource.subresource == "log" && resource.kind->kind == api::Kind::VirtualMachine)) {
    return refuse(no_such_path());
  }
  if (segments.size() >= 2 && !could_be_a_name(resource.name)) return refuse(not_found(resource.key()));
  if (!resource.ns.empty() && !could_be_a_name(resource.ns)) return refuse(no_such_path());
  return resource;
}

Reply Handler::handle(const Request& request) {
  auto reply = answer(request);
  if (!reply) return to_response(reply.error());
  return *std::move(reply);
}

Answer<Reply> Handler::answer(const Request& request) {
  const auto target = Target::parse(request.target);
  if (!target) return refuse(bad_request("the request target is not a path with valid percent escapes"));
  const auto& segments = target->segments();
  if (segments.size() > 3 && segments[0] == "apis" && segments[1] == api::kGroup && segments[2] == api::kVersion) {
    if (segments.size() == 4 && segments[3] == "hostobjects") return host_objects(request);
    const auto resource = find_resource(std::span(segments).subspan(3));
    if (!resource) return refuse(resource.error());
    return on_resource(request, *target, *resource);
  }
  return fixed_page(request, *target);
}

Answer<Reply> Handler::fixed_page(const Request& request, const Target& target) {
  const auto path = fmt::format("/{}", fmt::join(target.segments(), "/"));
  Response page;
  if (path == "/version") {
    page = json_page(version_document(options_.version));
  } else if (path == "/api") {
    page = json_page(api_versions());
  } else if (path == "/apis") {
    page = json_page(api_groups());
  } else if (path == "/apis/banger.dev") {
    page = json_page(api_group());
  } else if (path == "/apis/banger.dev/v1alpha1") {
    page = json_page(api_resources());
  } else if (path == "/livez") {
    page = text_page("ok\n");
  } else if (path == "/healthz" || path == "/readyz") {
    const bool writable = !objects_.store().poisoned();
    const bool ready = path == "/healthz" || !hooks_.ready || hooks_.ready();
    auto text = std::string(!writable ? "the store refuses writes\n" : ready ? "ok\n" : "not ready yet\n");
    const auto notice = hooks_.notice ? hooks_.notice() : "";
    if (path == "/readyz" && !notice.empty()) text += notice + "\n";
    page = text_page(text);
    if (!writable || !ready) page.status = 503;
  } else if (path == "/metrics") {
    page = text_page(hooks_.metrics_text ? hooks_.metrics_text() : "");
    page.content_type = "text/plain; version=0.0.4; charset=utf-8";
  } else {
    return refuse(no_such_path());
  }
  if (request.method != "GET") return refuse(wrong_method(request, "GET"));
  return page;
}

Answer<Reply> Handler::on_resource(const Request& request, const Target& target, const Resource& resource) {
  const auto& method = request.method;
  if (method == "GET") {
    return resource.subresource == "log" ? log(target, resource) : get(request, target, resource);
  }
  if (resource.subresource == "status" && (method == "PUT" || method == "PATCH")) {
    return refuse(method_not_allowed("status is written by bangerd from what it observes; change the spec instead", "GET"));
  }
  if (!resource.subresource.empty()) return refuse(wrong_method(request, "GET"));
  const bool write = method == "POST" || method == "PUT" || method == "PATCH" || method == "DELETE";
  const bool confirm = resource.kind->kind == api::Kind::ManifestSource && method == "PATCH" && !resource.name.empty();
  if (write && !resource.kind->user_writable && !confirm) return refuse(not_for_clients(resource));
  if (resource.name.empty()) {
    if (method != "POST") return refuse(wrong_method(request, resource.kind->user_writable ? "GET, POST" : "GET"));
    return create(request, target, resource);
  }
  if (method == "PUT") return replace(request, target, resource);
  if (method == "PATCH") return patch(request, target, resource);
  if (method == "DELETE") return remove(request, target, resource);
  return refuse(wrong_method(request, resource.kind->user_writable ? "GET, PUT, PATCH, DELETE" : "GET"));
}

}  // namespace banger::server
