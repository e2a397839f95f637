// SPDX-License-Identifier: Apache-2.0
#include "store/naming.hpp"

#include <fmt/format.h>

#include <cstdint>

#include "api/object.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::store {

std::string resource_name(const api::ObjectKey& key) {
  return fmt::format("{}.{} \"{}\"", api::info(key.kind).plural, api::kGroup, printable(key.name));
}

Error no_such_object(const api::ObjectKey& key) { return {ErrorCode::NotFound, fmt::format("{} not found", resource_name(key))}; }

Error object_exists(const api::ObjectKey& key) {
  return {ErrorCode::AlreadyExists, fmt::format("{} already exists", resource_name(key))};
}

Error object_was_modified(const api::ObjectKey& key) {
  return operation_conflict(key, "the object has been modified; please apply your changes to the latest version and try again");
}

Error operation_conflict(const api::ObjectKey& key, std::string_view why) {
  return {ErrorCode::Conflict, fmt::format("Operation cannot be fulfilled on {}: {}", resource_name(key), why)};
}

std::optional<std::string> short_id(std::string_view uid) {
  if (!is_uid(uid)) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : uid.substr(0, 18)) {  // 16 digits and 2 dashes: 64 bits, of which base32 takes the first 50
    if (c == '-') continue;
    value = (value << 4U) | static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return base32(value, 10);
}

}  // namespace banger::store
