// SPDX-License-Identifier: Apache-2.0
// /apis/banger.dev/v1alpha1/hostobjects: what of ours is on the host and whose it is; POST collects what belongs to nobody.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/text.hpp"
#include "server/body.hpp"
#include "server/handler.hpp"

namespace banger::server {
namespace {

StatusError unavailable(std::string message) {
  return {.code = 503,
          .reason = "ServiceUnavailable",
          .message = std::move(message),
          .kind = "",
          .name = "",
          .causes = {},
          .allow = ""};
}

StatusError from_host(const Error& error) {
  if (error.code == ErrorCode::Conflict)
    return {.code = 409, .reason = "Conflict", .message = error.message, .kind = "", .name = "", .causes = {}, .allow = ""};
  return unavailable(fmt::format("the host cannot be read: {}", error.message));
}

Answer<Collection> decode(const Request& request) {
  Collection out;
  if (request.body.empty()) return out;
  if (const auto media = expect_media(request, kJsonType); !media) return refuse(media.error());
  const auto document = parse_json_object(request.body);
  if (!document) return refuse(document.error());
  for (const auto& [key, value] : document->as_object()) {
    const bool known = key == "everything" || key == "endAdoptMode";
    if (!known || !value.is_bool()) {
      return refuse(bad_request(fmt::format("field \"{}\": expected \"everything\" and \"endAdoptMode\", true or false",
                                            printable(std::string_view(key.data(), key.size())))));
    }
    (key == "everything" ? out.everything : out.end_adopt_mode) = value.as_bool();
  }
  return out;
}

}  // namespace

Answer<Reply> Handler::host_objects(const Request& request) {
  if (request.method != "GET" && request.method != "POST") {
    return refuse(method_not_allowed(
        fmt::format("the method {} is not allowed here; allowed: GET, POST", printable(request.method)), "GET, POST"));
  }
  if (!hooks_.host_objects || !hooks_.collect) return refuse(unavailable("this daemon looks after no host"));
  if (request.method == "GET") {
    auto seen = hooks_.host_objects();
    if (!seen) return refuse(from_host(seen.error()));
    return Response{.body = *std::move(seen) + "\n"};
  }
  const auto asked = decode(request);
  if (!asked) return refuse(asked.error());
  auto done = hooks_.collect(*asked);
  if (!done) return refuse(from_host(done.error()));
  return Response{.body = *std::move(done) + "\n"};
}

}  // namespace banger::server
