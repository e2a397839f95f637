// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>

#include "base/text.hpp"

namespace banger::log {
namespace {

struct State {
  std::shared_ptr<spdlog::logger> logger = spdlog::stderr_color_mt("banger");
  bool json = false;
};

State& state() {
  static State instance;
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::Debug:
      return spdlog::level::debug;
    case Level::Info:
      return spdlog::level::info;
    case Level::Warning:
      return spdlog::level::warn;
    case Level::Error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : printable(text)) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

}  // namespace

void set_up(Format format, Level level) {
  auto& s = state();
  s.json = format == Format::Json || (format == Format::Auto && ::isatty(STDERR_FILENO) == 0);
  s.logger->set_pattern(s.json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})" : "%H:%M:%S.%e %^%-7l%$ %v",
                        spdlog::pattern_time_type::utc);
  s.logger->set_level(to_spdlog(level));
  s.logger->flush_on(spdlog::level::debug);
}

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  auto& s = state();
  const auto spd_level = to_spdlog(level);
  if (!s.logger->should_log(spd_level)) return;
  std::string line = s.json ? "\"message\":" + json_quoted(message) : std::string(message);
  for (const auto& field : fields) {
    if (s.json) {
      line += fmt::format(",{}:{}", json_quoted(field.key), json_quoted(field.value));
    } else {
      line += fmt::format(" {}={}", field.key, printable(field.value));
    }
  }
  s.logger->log(spd_level, "{}", line);
}

}  // namespace banger::log
