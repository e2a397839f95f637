// SPDX-License-Identifier: Apache-2.0
// Log set-up: constant message + key=value; JSON when standard error is not a terminal, for people when it is.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace banger::log {

enum class Format { Auto, Text, Json };
enum class Level { Debug, Info, Warning, Error };

// Once, at the start of main. Before that, messages go to standard error as text from level Info.
void set_up(Format format, Level level);

struct Field {
  std::string_view key;
  std::string value;
};

void write(Level level, std::string_view message, std::initializer_list<Field> fields);

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) { write(Level::Debug, message, fields); }
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) { write(Level::Info, message, fields); }
inline void warning(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::Warning, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) { write(Level::Error, message, fields); }

}  // namespace banger::log
