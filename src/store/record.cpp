// SPDX-License-Identifier: Apache-2.0
#include "store/record.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <utility>

#include "api/codec.hpp"
#include "base/text.hpp"
#include "store/crc32c.hpp"

namespace banger::store::record {
namespace {

constexpr char kValueFormat = 1;
constexpr std::size_t kHeader = 1 + 4;

void append_number(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = bytes; i-- > 0;) out.push_back(static_cast<char>(value >> (8U * i)));
}

std::uint64_t number_of(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = (value << 8U) | static_cast<std::uint8_t>(c);
  return value;
}

std::unexpected<Error> damaged(std::string_view key, std::string_view why) {
  return fail(internal(fmt::format("the value of {} is damaged: {}", describe_key(key), why)));
}

// Takes a length of 4 bytes and that many bytes off the front.
bool take(std::string_view& bytes, std::string_view& part) {
  if (bytes.size() < 4) return false;
  const auto length = static_cast<std::size_t>(number_of(bytes.substr(0, 4)));
  if (bytes.size() - 4 < length) return false;
  part = bytes.substr(4, length);
  bytes.remove_prefix(4 + length);
  return true;
}

Result<api::Object> decode(std::string_view key, Revision revision, std::string_view text) {
  auto object = api::decode_stored(text);
  if (!object) return fail(with_context(std::move(object).error(), fmt::format("decoding {}", describe_key(key))));
  object->meta.resource_version = revision;
  return object;
}

}  // namespace

std::string object_key(const api::ObjectKey& key) {
  std::string out = "o/";
  out += api::info(key.kind).name;
  out.push_back('\0');
  out += key.ns;
  out.push_back('\0');
  out += key.name;
  return out;
}

Result<api::ObjectKey> parse_object_key(std::string_view key) {
  const auto parts = split(key, '\0');
  const auto* kind = parts.size() == 3 && parts[0].starts_with("o/") ? api::find_kind(parts[0].substr(2)) : nullptr;
  if (kind == nullptr) return fail(internal(fmt::format("the key {} names no object", describe_key(key))));
  return api::ObjectKey{.kind = kind->kind, .ns = std::string(parts[1]), .name = std::string(parts[2])};
}

std::string change_key(Revision revision) {
  std::string out = "c/";
  append_number(out, revision, 8);
  return out;
}

Result<Revision> parse_change_key(std::string_view key) {
  if (key.size() != 10) return fail(internal(fmt::format("the key {} names no change", describe_key(key))));
  return number_of(key.substr(2));
}

std::string uid_key(std::string_view uid) { return fmt::format("u/{}", uid); }
std::string short_id_key(std::string_view id) { return fmt::format("s/{}", id); }

std::string describe_key(std::string_view key) {
  if (key.size() == 10 && key.starts_with("c/")) return fmt::format("c/{}", number_of(key.substr(2)));
  std::string text(key);
  for (auto& c : text) c = c == '\0' ? '/' : c;
  return printable(text);
}

std::string seal(std::string_view key, std::string_view payload) {
  std::string out(1, kValueFormat);
  append_number(out, crc32c(payload, crc32c(key)), 4);
  out += payload;
  return out;
}

Result<std::string_view> unseal(std::string_view key, std::string_view value) {
  if (value.size() < kHeader) return damaged(key, fmt::format("{} bytes are too few", value.size()));
  if (value.front() != kValueFormat) return damaged(key, fmt::format("format {} is not known", static_cast<int>(value.front())));
  const auto payload = value.substr(kHeader);
  const auto stored = static_cast<std::uint32_t>(number_of(value.substr(1, 4)));
  const auto computed = crc32c(payload, crc32c(key));
  if (stored != computed) return damaged(key, fmt::format("its checksum is {:08x}, not {:08x}", computed, stored));
  return payload;
}

std::string number(std::uint64_t value) {
  std::string out;
  append_number(out, value, 8);
  return out;
}

Result<std::uint64_t> parse_number(std::string_view key, std::string_view payload) {
  if (payload.size() != 8) return damaged(key, "it is no number");
  return number_of(payload);
}

std::string object_payload(Revision revision, std::string_view text) {
  auto out = number(revision);
  out += text;
  return out;
}

Result<ObjectPtr> parse_object(std::string_view key, std::string_view payload) {
  if (payload.size() < 8) return damaged(key, "it is too short for an object");
  BGR_TRY(const auto expected, parse_object_key(key));
  BGR_TRY(auto object, decode(key, number_of(payload.substr(0, 8)), payload.substr(8)));
  if (api::key_of(object) != expected) return damaged(key, fmt::format("it holds {}", api::to_string(api::key_of(object))));
  return std::make_shared<const api::Object>(std::move(object));
}

std::string change_payload(const StoredChange& change) {
  std::string out(1, static_cast<char>(change.type));
  append_number(out, change.previous_revision, 8);
  for (const auto part : {change.object_key, change.text, change.previous_text}) {
    append_number(out, part.size(), 4);
    out += part;
  }
  return out;
}

Result<StoredChange> parse_change(std::string_view key, std::string_view payload) {
  StoredChange change;
  if (payload.size() < 9 || static_cast<std::uint8_t>(payload[0]) > static_cast<std::uint8_t>(ChangeType::Deleted)) {
    return damaged(key, "it is no change");
  }
  change.type = static_cast<ChangeType>(payload[0]);
  change.previous_revision = number_of(payload.substr(1, 8));
  payload.remove_prefix(9);
  if (!take(payload, change.object_key) || !take(payload, change.text) || !take(payload, change.previous_text) ||
      !payload.empty()) {
    return damaged(key, "its parts do not fill it");
  }
  return change;
}

Result<Change> decode_change(std::string_view key, Revision revision, const StoredChange& stored) {
  const bool deleted = stored.type == ChangeType::Deleted;
  Change change{.revision = revision, .type = stored.type};
  BGR_TRY(change.object, decode(key, revision, deleted ? stored.previous_text : stored.text));
  if (stored.type != ChangeType::Added) {
    BGR_TRY(auto previous, decode(key, stored.previous_revision, stored.previous_text));
    change.previous = std::move(previous);
  }
  return change;
}

}  // namespace banger::store::record
