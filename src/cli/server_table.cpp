// SPDX-License-Identifier: Apache-2.0
#include "cli/server_table.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "cli/documents.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

const json::array& array_at(const json::value& value, std::string_view name) {
  static const json::array kEmpty;
  const auto* found = find_at(value, name);
  return found != nullptr && found->is_array() ? found->as_array() : kEmpty;
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return text;
}

}  // namespace

void ServerTable::learn_columns(const json::value& table) {
  if (printer_) return;
  const auto& definitions = array_at(table, "columnDefinitions");
  std::vector<std::string> header;
  if (style_.with_namespace) header.emplace_back("NAMESPACE");
  for (std::size_t i = 0; i < definitions.size(); ++i) {
    const auto priority = text_at(definitions[i], "priority");
    if (!style_.wide && !priority.empty() && priority != "0") continue;
    columns_.push_back({i, upper(text_at(definitions[i], "name")), text_at(definitions[i], "format") == "name"});
    header.push_back(columns_.back().title);
  }
  if (!columns_.empty()) printer_.emplace(std::move(header));
}

std::vector<std::vector<std::string>> ServerTable::rows_of(const json::value& table) const {
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : array_at(table, "rows")) {
    const auto& cells = array_at(row, "cells");
    auto& texts = rows.emplace_back();
    if (style_.with_namespace) texts.push_back(text_at(row, "object.metadata.namespace"));
    for (const auto& column : columns_) {
      auto text = column.index < cells.size() ? text_of(&cells[column.index]) : "";
      texts.push_back(column.is_name ? style_.name_prefix + text : text);
    }
  }
  return rows;
}

void ServerTable::print(const json::value& table) { print_all(std::span(&table, 1)); }

void ServerTable::print_all(std::span<const json::value> tables) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& table : tables) {
    learn_columns(table);
    auto more = rows_of(table);
    rows.insert(rows.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  if (printer_ && !rows.empty()) printer_->print(rows);
}

void ServerTable::print_event(std::string_view type, const json::value& table) {
  learn_columns(table);
  auto rows = rows_of(table);
  const auto status = std::ranges::find(columns_, "STATUS", &Column::title);
  if (type == "DELETED" && status != columns_.end()) {
    const auto place = static_cast<std::size_t>(status - columns_.begin()) + (style_.with_namespace ? 1 : 0);
    for (auto& row : rows) row[place] = "Deleted";
  }
  if (printer_ && !rows.empty()) printer_->print(rows);
}

}  // namespace banger::cli
