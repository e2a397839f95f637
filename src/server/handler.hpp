// SPDX-License-Identifier: Apache-2.0
// From a request to its reply: routes, reads, watches, writes. Knows nothing of sockets; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "server/message.hpp"
#include "server/server.hpp"
#include "server/status.hpp"
#include "server/view.hpp"

namespace banger::server {

// What a path below /apis/banger.dev/v1alpha1 names.
struct Resource {
  const api::KindInfo* kind = nullptr;
  std::string ns;           // empty: all namespaces, or the kind has none
  std::string name;         // empty: the collection
  std::string subresource;  // "", "status", "log"
  [[nodiscard]] api::ObjectKey key() const { return {kind->kind, ns, name}; }
};

// segments: what follows /apis/banger.dev/v1alpha1.
Answer<Resource> find_resource(std::span<const std::string> segments);

class Handler {
 public:
  Handler(const ServerOptions& options, store::Objects& objects, const Hooks& hooks, Clock& clock)
      : options_(options), objects_(objects), hooks_(hooks), clock_(clock) {}

  Reply handle(const Request& request);

 private:
  Answer<Reply> answer(const Request& request);
  Answer<Reply> fixed_page(const Request& request, const Target& target);
  Answer<Reply> on_resource(const Request& request, const Target& target, const Resource& resource);

  Answer<Reply> host_objects(const Request& request);  // host_objects.cpp

  // reads.cpp
  Answer<Reply> get(const Request& request, const Target& target, const Resource& resource);
  Answer<Reply> list(const Target& target, const Resource& resource, const View& view);
  Answer<Reply> watch(const Target& target, const Resource& resource, const View& view);
  Answer<Reply> log(const Target& target, const Resource& resource);

  // writes.cpp
  Answer<Reply> create(const Request& request, const Target& target, const Resource& resource);
  Answer<Reply> replace(const Request& request, const Target& target, const Resource& resource);
  Answer<Reply> patch(const Request& request, const Target& target, const Resource& resource);
  Answer<Reply> remove(const Request& request, const Target& target, const Resource& resource);
  Answer<Reply> confirm_prune(const Request& request, const View& view, const Resource& resource);

  const ServerOptions& options_;
  store::Objects& objects_;
  const Hooks& hooks_;
  Clock& clock_;
};

}  // namespace banger::server
