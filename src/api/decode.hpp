// SPDX-License-Identifier: Apache-2.0
// The tree to values, by the rows of the schema.
#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"
#include "api/schema.hpp"
#include "api/tree.hpp"
#include "base/result.hpp"

namespace banger::api::schema {

// Who wrote the text. Manifest: a person, who may not set what only the server sets. Client: a program over the API. Stored: we
// ourselves, maybe a newer or older version of us: unknown fields are ignored and nothing is filled in.
enum class Writer { Manifest, Client, Stored };

class Decoder {
 public:
  Decoder(Writer writer, std::vector<Refusal>& refusals) : writer_(writer), refusals_(refusals) {}

  // Reads node (a map) into the struct at owner. path: where node stands ("spec"), or empty.
  void read_fields(const TreeNode& node, std::span<const Field> fields, void* owner, std::string_view path);
  // Reads one entry of a map by the row of its name.
  void read_field(const TreeNode& node, const Field& field, void* owner, std::string_view path);
  // What absence of the field means.
  void read_absent(const Field& field, void* owner, std::string_view path);
  void refuse_unknown(const Entry& entry, std::span<const std::string_view> known, std::string_view path);
  void refuse(const TreeNode& node, std::string_view path, std::string_view reason, std::string message);

 private:
  void read_value(const TreeNode& node, const Field& field, const Type& type, void* target, const std::string& path);
  void read_text(const TreeNode& node, std::string& target, const std::string& path);
  void read_number(const TreeNode& node, const Field& field, const Type& type, void* target, const std::string& path);
  void read_list(const TreeNode& node, const Field& field, const Type& type, void* target, const std::string& path);
  void read_map(const TreeNode& node, std::map<std::string, std::string>& target, const std::string& path);
  std::optional<std::int64_t> number_of(const TreeNode& node, const Field& field, const Type& type, const std::string& path);
  std::optional<std::int64_t> integer_of(const TreeNode& node, const Field& field, const std::string& path);
  std::optional<std::int64_t> mode_of(const TreeNode& node, const std::string& path);
  std::optional<std::int64_t> spelling_of(const TreeNode& node, const Type& type, const std::string& path);

  Writer writer_;
  std::vector<Refusal>& refusals_;
};

// A whole object; nothing when its kind cannot be told. Refusals are in the order of the text and have their positions.
std::optional<Object> decode_document(const TreeNode& root, Writer writer, std::vector<Refusal>& refusals);

// The entry of a map; null if there is none.
const Entry* find_entry(const TreeNode& map, std::string_view key);

// Gives refusals without a position that of the node they speak of, or of the nearest one around it; then sorts them by position.
void place(const TreeNode& root, std::vector<Refusal>& refusals);

// JSON that we wrote ourselves, into the struct at value. Errors: Invalid when it cannot be read or a field has another type.
Result<void> read_stored(std::string_view json_text, const Type& type, void* value);

// What the user wrote of an object that was decoded from root: the fields that stand there, as encode would write them, sorted.
std::string canonical_text(const TreeNode& root, const Object& object);

}  // namespace banger::api::schema
