// SPDX-License-Identifier: Apache-2.0
// For tests: a handler or a whole server on a memory store, in a directory of its own.
#pragma once

#include <boost/json/fwd.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/unique_fd.hpp"
#include "server/handler.hpp"
#include "server/server.hpp"
#include "store/store.hpp"

namespace banger::server {

class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline constexpr std::string_view kVms = "/apis/banger.dev/v1alpha1/namespaces/default/virtualmachines";
inline constexpr std::string_view kNetworks = "/apis/banger.dev/v1alpha1/networks";

// A VirtualMachine as a client sends it. more: members of metadata ("\"labels\":{…}"), spec: members after the image.
std::string vm_json(std::string_view name, std::string_view more = "", std::string_view spec = "");

struct Rig {
  TempDir dir;
  SystemClock clock;
  SystemRandom random;  // the server's workers share it
  std::unique_ptr<store::Store> store = store::make_memory_store();
  store::Objects objects{*store, clock, random};
  Hooks hooks;
  ServerOptions options;
  Handler handler{options, objects, hooks, clock};

  Rig();

  Reply reply(const Request& request) { return handler.handle(request); }
  // A reply that is no stream.
  Response ask(std::string_view method, std::string_view target, std::string_view body = "", std::string_view content_type = "",
               std::string_view accept = "");
  Response get(std::string_view target, std::string_view accept = "") { return ask("GET", target, "", "", accept); }
  std::unique_ptr<Stream> stream(std::string_view target, std::string_view accept = "");
  // Stores what the daemon would, past the API.
  api::Object put(const api::Object& object);
  api::Object put_vm(std::string_view name, std::string_view more = "");
};

boost::json::value parsed(std::string_view text);
// The text at a path of object members and list indices: "items.0.metadata.name"; "" when it is not there.
std::string at(std::string_view document, std::string_view path);

// One connection to a unix socket, speaking raw bytes. Reads end after five seconds.
class Wire {
 public:
  explicit Wire(const std::string& path);
  [[nodiscard]] bool connected() const { return fd_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  bool send(std::string_view bytes);
  void half_close();
  // Everything until the peer closes, or until it holds text.
  std::string read_all();
  std::string read_until(std::string_view text);
  // One response with a Content-Length: head and body.
  std::string read_response();
  bool closed_by_peer();  // waits for it; nothing unread may be left
  bool hung_up();         // waits for it; reads nothing

 private:
  bool fill();
  UniqueFd fd_;
  std::string buffer_;
};

// A request as bytes.
std::string raw_request(std::string_view method, std::string_view target, std::string_view headers = "",
                        std::string_view body = "");

}  // namespace banger::server
