// SPDX-License-Identifier: Apache-2.0
#include "cli/table_printer.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "cli/session.hpp"

namespace banger::cli {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no place.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

}  // namespace

void TablePrinter::print_row(const std::vector<std::string>& cells) const {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line.append(widths_[i] - width_of(cells[i]) + 3, ' ');
  }
  while (line.ends_with(' ')) line.pop_back();
  print_line(line);
}

void TablePrinter::print(const std::vector<std::vector<std::string>>& rows) {
  const bool first = widths_.empty();
  widths_.resize(header_.size());
  std::vector<std::vector<std::string>> clean;
  for (const auto& row : rows) {
    auto& cells = clean.emplace_back();
    for (std::size_t i = 0; i < header_.size(); ++i) cells.push_back(i < row.size() ? printable(row[i]) : "");
  }
  for (std::size_t i = 0; i < header_.size(); ++i) {
    widths_[i] = std::max(widths_[i], width_of(header_[i]));
    for (const auto& row : clean) widths_[i] = std::max(widths_[i], width_of(row[i]));
  }
  if (first) print_row(header_);
  for (const auto& row : clean) print_row(row);
}

}  // namespace banger::cli
