// SPDX-License-Identifier: Apache-2.0
// The typed client of bangerd's API: objects, JSON documents, watches and logs.
#pragma once

#include <boost/json/fwd.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/object.hpp"
#include "base/result.hpp"
#include "client/http.hpp"

namespace banger::client {

inline constexpr std::string_view kDefaultSocket = "/run/banger/bangerd.sock";
inline constexpr std::string_view kTableType = "application/json;as=Table;v=v1;g=meta.k8s.io";
inline constexpr std::string_view kMergePatchType = "application/merge-patch+json";

// True for errors of connecting, of broken connections, and when the server does not talk to this user (403 says only that);
// false for everything else that the server answered.
inline bool is_unreachable(const Error& error) { return error.sys_errno != 0 || error.code == ErrorCode::Denied; }

std::string percent_encode(std::string_view text);
// ns empty: all namespaces. "/apis/banger.dev/v1alpha1/namespaces/default/virtualmachines"
std::string collection_path(api::Kind kind, std::string_view ns);
std::string object_path(const api::ObjectKey& key);

class Client {
 public:
  // Takes the text of a Warning that came with an answer to call().
  using WarningSink = std::function<void(std::string_view text)>;

  explicit Client(std::string socket_path, WarningSink on_warning = {})
      : socket_path_(std::move(socket_path)), on_warning_(std::move(on_warning)) {}

  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }

  // Any answer of the server.
  Result<Response> send(const Request& request) const;
  // The document of a 2xx; other answers are errors with the Status' message and the code that fits its status.
  Result<boost::json::value> call(const Request& request) const;

  Result<boost::json::value> get_json(const std::string& target, std::string_view accept = "application/json") const;
  Result<api::Object> get(const api::ObjectKey& key) const;
  Result<api::Object> merge_patch(const api::ObjectKey& key, const boost::json::value& patch) const;

  // Hands every event of a watch (type, object) to sink until it answers false, the server ends the stream, or patience does.
  // An ERROR event is an error (Gone: list again).
  using EventSink = std::function<bool(std::string_view type, const boost::json::value& object)>;
  Result<Ending> watch(const std::string& target, std::string_view accept, const EventSink& sink, const Patience& patience) const;

  // A text stream (serial logs).
  Result<Ending> read_text(const std::string& target, const BodySink& sink, const Patience& patience) const;

 private:
  std::string socket_path_;
  WarningSink on_warning_;
};

}  // namespace banger::client
