// SPDX-License-Identifier: Apache-2.0
#include "intake/read_record.hpp"

#include <fmt/format.h>

#include <string_view>

#include "base/files.hpp"

namespace banger::intake {
namespace {

constexpr Bytes kLimit = mib(8);
constexpr std::string_view kItself = ".";  // no sub-directory bears it

Result<void> take_line(std::string_view line, ReadRecord& record) {
  const auto space = line.find(' ');
  const auto word = line.substr(0, space);
  const std::string value(space == std::string_view::npos ? "" : line.substr(space + 1));
  if (value.empty()) return fail(invalid("a line without a value"));
  if (word == "directory") {
    record.directory = value;
  } else if (word == "identity") {
    record.identity = value;
  } else if (word == "held") {
    record.held.insert(value == kItself ? "" : value);
  } else {
    return fail(invalid("a line that begins with none of directory, identity and held"));
  }
  return {};
}

}  // namespace

std::string directory_of(const std::string& file) {
  const auto slash = file.rfind('/');
  return slash == std::string::npos ? "" : file.substr(0, slash);
}

Result<std::optional<ReadRecord>> load_read_record(const std::filesystem::path& path) {
  const auto text = read_own_file(path, kLimit);
  if (!text && text.error().code == ErrorCode::NotFound) return std::nullopt;
  if (!text) return fail(text.error());
  ReadRecord record;
  for (std::string_view rest = *text; !rest.empty();) {
    const auto end = rest.find('\n');
    if (end == std::string_view::npos) return fail(invalid(path.native() + ": its last line is cut short"));
    if (const auto taken = take_line(rest.substr(0, end), record); !taken)
      return fail(with_context(taken.error(), path.native()));
    rest.remove_prefix(end + 1);
  }
  return record;
}

Result<void> keep_read_record(const std::filesystem::path& path, const ReadRecord& record) {
  auto text = fmt::format("directory {}\nidentity {}\n", record.directory, record.identity);
  for (const auto& directory : record.held) text += fmt::format("held {}\n", directory.empty() ? kItself : directory);
  return write_file_durably(path, text, 0600);
}

}  // namespace banger::intake
