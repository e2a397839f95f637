// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/qmp.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>

#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {
namespace {

namespace json = boost::json;
using Deadline = std::chrono::steady_clock::time_point;

const json::object* object_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

std::string text_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

std::int64_t number_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* number = value == nullptr ? nullptr : value->if_int64();
  return number == nullptr ? 0 : *number;
}

std::string version_of(const json::object& greeting) {
  const auto* version = object_at(greeting, "version");
  const auto* qemu = version == nullptr ? nullptr : object_at(*version, "qemu");
  if (qemu == nullptr) return {};
  return fmt::format("{}.{}.{}", number_at(*qemu, "major"), number_at(*qemu, "minor"), number_at(*qemu, "micro"));
}

bool wait_for(int fd, short events, Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  if (left <= 0) return false;
  pollfd polled{fd, events, 0};
  const int ready = ::poll(&polled, 1, static_cast<int>(left));
  return ready > 0 || (ready < 0 && errno == EINTR);
}

UniqueFd connect_to(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path) return {};
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

// The next message, or nothing at the end, the limit or the deadline.
std::optional<QmpMessage> next_message(int fd, QmpReader& reader, Deadline deadline) {
  for (;;) {
    while (auto line = reader.next_line()) {
      if (auto message = parse_qmp(*line)) return message;
    }
    if (!wait_for(fd, POLLIN, deadline)) return std::nullopt;
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0 || !reader.add({buffer.data(), static_cast<std::size_t>(got)})) return std::nullopt;
  }
}

bool tell(const UniqueFd& fd, std::string_view text) {
  return fd.valid() && ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// On a connection that has just been made.
MonitorAnswer ask(const UniqueFd& fd, QmpReader& reader, Deadline deadline) {
  MonitorAnswer answer;
  static constexpr std::string_view kQuestion =
      "{\"execute\":\"qmp_capabilities\",\"id\":\"hello\"}\n{\"execute\":\"query-status\",\"id\":\"status\"}\n";
  if (!tell(fd, kQuestion)) return answer;
  while (const auto message = next_message(fd.get(), reader, deadline)) {
    if (message->kind == QmpMessage::Kind::Greeting) answer.version = message->version;
    if (message->kind == QmpMessage::Kind::Return && message->id == "status") {
      answer.state = monitor_state(message->status);
      return answer;
    }
    if (message->kind == QmpMessage::Kind::Failure) return answer;
  }
  return answer;
}

Error unanswered(const std::filesystem::path& socket) {
  return {ErrorCode::Unavailable, fmt::format("the VMM's monitor {} does not answer", socket.native())};
}

}  // namespace

std::optional<QmpMessage> parse_qmp(std::string_view line) {
  json::error_code error;
  json::value value;
  try {
    value = json::parse(json::string_view(line.data(), line.size()), error);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  const auto* object = error ? nullptr : value.if_object();
  if (object == nullptr) return std::nullopt;
  QmpMessage out;
  out.id = text_at(*object, "id");
  if (const auto* greeting = object_at(*object, "QMP")) {
    out.kind = QmpMessage::Kind::Greeting;
    out.version = version_of(*greeting);
  } else if (object->contains("return")) {
    out.kind = QmpMessage::Kind::Return;
    if (const auto* result = object_at(*object, "return")) out.status = text_at(*result, "status");
  } else if (const auto* failure = object_at(*object, "error")) {
    out.kind = QmpMessage::Kind::Failure;
    out.error = text_at(*failure, "desc");
  } else if (out.event = text_at(*object, "event"); !out.event.empty()) {
    out.kind = QmpMessage::Kind::Event;
    if (const auto* data = object_at(*object, "data")) out.reason = text_at(*data, "reason");
  }
  return out;
}

bool QmpReader::add(std::string_view bytes) {
  if (bytes.size() > kLimit - total_) return false;
  total_ += bytes.size();
  buffer_.append(bytes);
  return true;
}

std::optional<std::string> QmpReader::next_line() {
  const auto end = buffer_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  return line;
}

MonitorState monitor_state(std::string_view run_state) {
  if (run_state == "running") return MonitorState::Running;
  if (run_state == "prelaunch" || run_state == "inmigrate") return MonitorState::Prelaunch;
  if (run_state == "shutdown") return MonitorState::Shutdown;
  // The guest's CPU is stopped for good, while the process stays: a crash that no exit shows.
  if (run_state == "internal-error" || run_state == "guest-panicked") return MonitorState::InternalError;
  if (run_state == "io-error") return MonitorState::IoError;
  return run_state.empty() ? MonitorState::Unreachable : MonitorState::Paused;
}

MonitorAnswer ask_monitor(const std::filesystem::path& socket, std::chrono::milliseconds limit) {
  const auto fd = connect_to(socket);
  QmpReader reader;
  return ask(fd, reader, std::chrono::steady_clock::now() + limit);
}

Result<bool> resume_guest(const std::filesystem::path& socket, std::chrono::milliseconds limit) {
  const Deadline deadline = std::chrono::steady_clock::now() + limit;
  const auto fd = connect_to(socket);
  QmpReader reader;
  const auto state = ask(fd, reader, deadline).state;
  if (state == MonitorState::Unreachable) return fail(unanswered(socket));
  if (state != MonitorState::IoError) return false;
  if (!tell(fd, "{\"execute\":\"cont\",\"id\":\"cont\"}\n")) return fail(unanswered(socket));
  while (const auto message = next_message(fd.get(), reader, deadline)) {
    if (message->id != "cont") continue;
    if (message->kind == QmpMessage::Kind::Return) return true;
    return fail({ErrorCode::Unavailable, "the VMM refused to let the guest go on: " + printable(message->error)});
  }
  return fail(unanswered(socket));
}

std::string last_shutdown_reason(std::string_view events) {
  std::string reason;
  std::size_t at = 0;
  while (at < events.size()) {
    const auto end = std::min(events.find('\n', at), events.size());
    const auto message = parse_qmp(events.substr(at, end - at));
    if (message && message->kind == QmpMessage::Kind::Event && message->event == "SHUTDOWN") {
      reason = message->reason.empty() ? "unknown" : message->reason;
    }
    at = end + 1;
  }
  return reason;
}

}  // namespace banger::actuators::vmm
