// SPDX-License-Identifier: Apache-2.0
#include "api/codec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "api/decode.hpp"

namespace banger::api {
namespace {

constexpr std::string_view kUnreadable = "the stored object cannot be read";

// A hostile file is wrong in thousands of places; nobody reads them, and events would carry them.
constexpr std::size_t kMaxRefusals = 100;

void shorten(std::vector<Refusal>& refusals) {
  if (refusals.size() <= kMaxRefusals) return;
  const auto& next = refusals[kMaxRefusals];
  refusals[kMaxRefusals] = {.line = next.line,
                            .column = next.column,
                            .reason = "FieldValueTooMany",
                            .message = fmt::format("and {} more errors", refusals.size() - kMaxRefusals)};
  refusals.resize(kMaxRefusals + 1);
}

Decoded<Object> decode_tree(const std::optional<schema::TreeNode>& root, std::vector<Refusal> refusals) {
  Decoded<Object> decoded{.refusals = std::move(refusals)};
  if (!root) return decoded;
  if (auto object = schema::decode_document(*root, schema::Writer::Client, decoded.refusals)) decoded.value = *std::move(object);
  shorten(decoded.refusals);
  return decoded;
}

}  // namespace

std::string to_string(const Refusal& refusal, std::string_view file) {
  std::string text(file);
  if (refusal.line != 0) text += fmt::format("{}{}", text.empty() ? "" : ":", refusal.line);
  if (refusal.line != 0 && refusal.column != 0) text += fmt::format(":{}", refusal.column);
  if (!text.empty()) text += ": ";
  if (!refusal.field.empty()) text += refusal.field + ": ";
  return text + refusal.message;
}

Decoded<std::vector<ManifestDocument>> decode_manifest(std::string_view yaml) {
  Decoded<std::vector<ManifestDocument>> decoded;
  std::vector<Refusal> whole;
  for (auto& document : schema::trees_of_yaml(yaml, whole)) {
    auto object = schema::decode_document(document.root, schema::Writer::Manifest, document.refusals);
    schema::place(document.root, document.refusals);
    if (document.refusals.empty() && object) {
      auto canonical = schema::canonical_text(document.root, *object);
      const auto* metadata = schema::find_entry(document.root, "metadata");
      const bool says_namespace = metadata != nullptr && schema::find_entry(metadata->value, "namespace") != nullptr;
      decoded.value.push_back({.object = *std::move(object),
                               .line = document.line,
                               .canonical = std::move(canonical),
                               .says_namespace = says_namespace});
    }
    std::ranges::move(document.refusals, std::back_inserter(decoded.refusals));
  }
  std::ranges::move(whole, std::back_inserter(decoded.refusals));
  shorten(decoded.refusals);
  return decoded;
}

Decoded<Object> decode_object(const boost::json::value& json) {
  std::vector<Refusal> refusals;
  const auto root = schema::tree_of_json(json, refusals);
  return decode_tree(root, std::move(refusals));
}

Decoded<Object> decode_object(std::string_view json_text) {
  std::vector<Refusal> refusals;
  const auto root = schema::tree_of_json(json_text, schema::Duplicates::Refused, refusals);
  return decode_tree(root, std::move(refusals));
}

Result<Object> decode_stored(std::string_view json_text) {
  std::vector<Refusal> refusals;
  const auto root = schema::tree_of_json(json_text, schema::Duplicates::LastWins, refusals);
  std::optional<Object> object;
  if (root) object = schema::decode_document(*root, schema::Writer::Stored, refusals);
  if (refusals.empty() && object) return *std::move(object);
  return fail(internal(fmt::format("{}: {}", kUnreadable, refusals.empty() ? "no kind" : to_string(refusals.front(), ""))));
}

}  // namespace banger::api
