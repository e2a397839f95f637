// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/exit_record.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <csignal>
#include <string>

#include "actuators/vmm/qmp.hpp"
#include "base/text.hpp"

namespace banger::actuators::vmm {
namespace {

namespace json = boost::json;

constexpr std::size_t kMessageLimit = 1024;

struct Record {
  std::int64_t exit_code = 0;
  std::int64_t signal = 0;
  std::int64_t finished = 0;
  std::string error, standard_error, serial, events;
};

std::int64_t number(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

// The shim writes each byte as the character of that number.
std::string bytes(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return {};
  const auto& text = value->get_string();
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if ((lead == 0xc2U || lead == 0xc3U) && i + 1 < text.size()) {
      out += static_cast<char>(((lead & 0x03U) << 6U) | (static_cast<unsigned char>(text[++i]) & 0x3fU));
    } else {
      out += static_cast<char>(lead);
    }
  }
  return out;
}

Result<Record> read_record(std::string_view text) {
  json::error_code error;
  const auto value = json::parse(json::string_view(text.data(), text.size()), error);
  const auto* object = error ? nullptr : value.if_object();
  if (object == nullptr) return fail(invalid("the exit record is not a JSON object"));
  return Record{number(*object, "exitCode"),  number(*object, "signal"),    number(*object, "finished"), bytes(*object, "error"),
                bytes(*object, "stderrTail"), bytes(*object, "serialTail"), bytes(*object, "eventsTail")};
}

std::string last_part(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  if (text.size() > kMessageLimit / 2) text.remove_prefix(text.size() - kMessageLimit / 2);
  auto out = printable(text);
  if (out.size() > kMessageLimit) out.erase(0, out.size() - kMessageLimit);
  return out;
}

// The line that begins with the kernel's last words, if it said them.
std::string panic_line(std::string_view serial) {
  const auto at = serial.rfind("Kernel panic - not syncing");
  if (at == std::string_view::npos) return {};
  const auto line = serial.substr(at, std::min(serial.find_first_of("\r\n", at), serial.size()) - at);
  return last_part(line);
}

std::string reason_of(const Record& record) {
  if (!record.error.empty()) return "StartFailed";
  if (record.signal == SIGKILL) {
    return record.standard_error.find("KVM internal error") != std::string::npos ? "InternalError" : "Killed";
  }
  if (record.signal != 0) return "Crashed";
  // The monitor answers once the machine is built; a bad argument, a busy tap or a locked disk ends QEMU before.
  if (record.exit_code != 0) return record.events.find("\"return\"") == std::string::npos ? "StartFailed" : "Crashed";
  const auto reason = last_shutdown_reason(record.events);
  if (reason == "guest-reset") return panic_line(record.serial).empty() ? "GuestReboot" : "Crashed";
  if (reason == "guest-panic") return "Crashed";
  if (reason.starts_with("host-")) return "Killed";
  return "GuestShutdown";
}

}  // namespace

Result<ExitView> parse_exit_record(std::string_view text) {
  BGR_TRY(const auto record, read_record(text));
  ExitView out{reason_of(record), record.exit_code, record.signal, std::nullopt, {}};
  if (record.finished > 0) out.finished = WallTime(std::chrono::milliseconds(record.finished));
  if (!record.error.empty()) {
    out.message = last_part(record.error);
  } else if (out.reason == "Crashed" && record.exit_code == 0 && record.signal == 0) {
    out.message = panic_line(record.serial);
  } else {
    out.message = last_part(record.standard_error);
  }
  return out;
}

}  // namespace banger::actuators::vmm
