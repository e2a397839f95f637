// SPDX-License-Identifier: Apache-2.0
// The server's Table documents as lines of text.
#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/table_printer.hpp"

namespace banger::cli {

struct TableStyle {
  bool wide = false;            // columns with a priority above 0 too
  bool with_namespace = false;  // a column NAMESPACE before the others
  std::string name_prefix;      // before each name: "virtualmachine/"
};

class ServerTable {
 public:
  explicit ServerTable(TableStyle style) : style_(std::move(style)) {}

  void print(const boost::json::value& table);
  void print_all(std::span<const boost::json::value> tables);  // of one kind
  // A watch event whose object is a Table of one row. Of what is deleted, the column STATUS says so.
  void print_event(std::string_view type, const boost::json::value& table);

 private:
  struct Column {
    std::size_t index = 0;
    std::string title;
    bool is_name = false;
  };
  void learn_columns(const boost::json::value& table);
  std::vector<std::vector<std::string>> rows_of(const boost::json::value& table) const;

  TableStyle style_;
  std::vector<Column> columns_;
  std::optional<TablePrinter> printer_;
};

}  // namespace banger::cli
