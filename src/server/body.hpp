// SPDX-License-Identifier: Apache-2.0
// Request bodies: from JSON text to checked objects and options.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "server/handler.hpp"

namespace banger::server {

inline constexpr std::string_view kJsonType = "application/json";
inline constexpr std::string_view kMergePatchType = "application/merge-patch+json";

// fieldValidation: what unknown fields mean.
enum class Strictness { Strict, Warn, Ignore };
Answer<Strictness> strictness_of(const Target& target);

enum class Run { Real, Dry };
Answer<Run> run_of(const Target& target);  // dryRun=All

// 415 unless the request's media type (parameters aside) is expected; none at all counts as JSON.
Answer<void> expect_media(const Request& request, std::string_view expected);

Answer<boost::json::value> parse_json_object(std::string_view text);

struct Body {
  api::Object object;
  std::vector<std::string> warnings;  // unknown fields under Strictness::Warn
};
// A whole object for the place that the resource names: kind, namespace and name must agree with it. status is not looked at.
Answer<Body> decode_body(boost::json::value document, const Resource& resource, Strictness strictness);

// DeleteOptions in the body (or nothing).
struct DeleteRequest {
  store::Objects::DeleteOptions options;
  Run run = Run::Real;
};
Answer<DeleteRequest> decode_delete(const Request& request, const Target& target);

}  // namespace banger::server
