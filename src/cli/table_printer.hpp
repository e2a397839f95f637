// SPDX-License-Identifier: Apache-2.0
// Rows in aligned columns; rows that come later (watches) keep the columns where they are.
#pragma once

#include <string>
#include <vector>

namespace banger::cli {

class TablePrinter {
 public:
  explicit TablePrinter(std::vector<std::string> header) : header_(std::move(header)) {}

  [[nodiscard]] const std::vector<std::string>& header() const { return header_; }
  // Prints the rows, the header before the first ones. Cells go through printable(). Once printed, columns only grow.
  void print(const std::vector<std::vector<std::string>>& rows);

 private:
  void print_row(const std::vector<std::string>& cells) const;
  std::vector<std::string> header_;
  std::vector<std::size_t> widths_;
};

}  // namespace banger::cli
