// SPDX-License-Identifier: Apache-2.0
#include "server/rig.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json.hpp>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "api/codec.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

namespace banger::server {
namespace json = boost::json;

TempDir::TempDir() {
  auto name = (std::filesystem::temp_directory_path() / "banger-server-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

TempDir::~TempDir() { (void)remove_tree(path_); }

std::string vm_json(std::string_view name, std::string_view more, std::string_view spec) {
  return fmt::format(
      R"({{"apiVersion":"banger.dev/v1alpha1","kind":"VirtualMachine","metadata":{{"name":"{}"{}{}}},"spec":{{"image":"demo"{}{}}}}})",
      name, more.empty() ? "" : ",", more, spec.empty() ? "" : ",", spec);
}

Rig::Rig() { options.socket_path = dir.file("bangerd.sock"); }

Response Rig::ask(std::string_view method, std::string_view target, std::string_view body, std::string_view content_type,
                  std::string_view accept) {
  auto answer = reply({.method = std::string(method),
                       .target = std::string(target),
                       .accept = std::string(accept),
                       .content_type = std::string(content_type),
                       .body = std::string(body)});
  if (auto* response = std::get_if<Response>(&answer)) return std::move(*response);
  throw std::runtime_error("a stream came where a response was expected");
}

std::unique_ptr<Stream> Rig::stream(std::string_view target, std::string_view accept) {
  auto answer = reply({.target = std::string(target), .accept = std::string(accept)});
  if (auto* body = std::get_if<std::unique_ptr<Stream>>(&answer)) return std::move(*body);
  throw std::runtime_error("expected a stream, got: " + std::get<Response>(answer).body);
}

api::Object Rig::put(const api::Object& object) {
  auto stored = store->create(object);
  if (!stored) throw std::runtime_error(stored.error().message);
  return *std::move(stored);
}

api::Object Rig::put_vm(std::string_view name, std::string_view more) {
  auto decoded = api::decode_object(vm_json(name, more));
  if (!decoded.refusals.empty()) throw std::runtime_error(api::to_string(decoded.refusals.front(), "vm"));
  auto created = objects.create(decoded.value);
  if (!created) throw std::runtime_error(created.error().error.message);
  return *std::move(created);
}

json::value parsed(std::string_view text) { return json::parse(text); }

std::string at(std::string_view document, std::string_view path) {
  const auto value = json::parse(document);
  const auto* here = &value;
  for (const auto part : split(path, '.')) {
    if (here->is_object()) {
      here = here->as_object().if_contains(part);
    } else if (here->is_array()) {
      std::size_t index = 0;
      std::from_chars(part.data(), part.data() + part.size(), index);
      here = index < here->as_array().size() ? &here->as_array()[index] : nullptr;
    } else {
      here = nullptr;
    }
    if (here == nullptr) return {};
  }
  return here->is_string() ? std::string(here->as_string()) : json::serialize(*here);
}

Wire::Wire(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof(address.sun_path) - 1));
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) fd_.reset();
}

bool Wire::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

void Wire::half_close() { ::shutdown(fd_.get(), SHUT_WR); }

bool Wire::fill() {
  pollfd waited{fd_.get(), POLLIN, 0};
  if (::poll(&waited, 1, 5000) <= 0) return false;
  char block[65536];
  const auto got = ::recv(fd_.get(), block, sizeof(block), 0);
  if (got <= 0) return false;
  buffer_.append(block, static_cast<std::size_t>(got));
  return true;
}

std::string Wire::read_all() {
  while (fill()) {
  }
  return std::exchange(buffer_, {});
}

std::string Wire::read_until(std::string_view text) {
  for (;;) {
    const auto found = buffer_.find(text);
    if (found != std::string::npos) {
      auto taken = buffer_.substr(0, found + text.size());
      buffer_.erase(0, taken.size());
      return taken;
    }
    if (!fill()) return std::exchange(buffer_, {});
  }
}

std::string Wire::read_response() {
  auto response = read_until("\r\n\r\n");
  const auto length_at = response.find("Content-Length: ");
  std::size_t length = 0;
  if (length_at != std::string::npos) {
    const auto* digits = response.data() + length_at + 16;
    std::from_chars(digits, response.data() + response.size(), length);
  }
  while (buffer_.size() < length && fill()) {
  }
  response += buffer_.substr(0, length);
  buffer_.erase(0, length);
  return response;
}

bool Wire::closed_by_peer() {
  pollfd waited{fd_.get(), POLLIN, 0};
  if (::poll(&waited, 1, 5000) <= 0) return false;
  char byte = 0;
  return ::recv(fd_.get(), &byte, 1, MSG_PEEK) <= 0;
}

bool Wire::hung_up() {
  pollfd waited{fd_.get(), 0, 0};
  return ::poll(&waited, 1, 5000) > 0 && (waited.revents & POLLHUP) != 0;
}

std::string raw_request(std::string_view method, std::string_view target, std::string_view headers, std::string_view body) {
  auto text = fmt::format("{} {} HTTP/1.1\r\nHost: x\r\n{}", method, target, headers);
  if (!body.empty()) text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  return text + "\r\n" + std::string(body);
}

}  // namespace banger::server
