// SPDX-License-Identifier: Apache-2.0
// The layout of the database: keys and values as bytes. Pure functions; docs/store.md has the table.
//
//   m/format, m/rev, m/compact       numbers
//   o/<Kind>\0<namespace>\0<name>    current object
//   c/<revision, 8 bytes>            change that made this revision
//   u/<uid>                          key of the living object with this uid
//   s/<short id>                     uid of the living object with this short id
//
// Numbers are big-endian, so that keys sort by them. Every value is: format byte, CRC-32C of key and payload, payload. The key is
// in the CRC so that a sound value under a wrong key is found as well.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/meta.hpp"
#include "base/result.hpp"
#include "store/store.hpp"
#include "store/table.hpp"

namespace banger::store::record {

inline constexpr std::uint64_t kFormat = 1;  // of the layout as a whole
inline constexpr std::string_view kFormatKey = "m/format";
inline constexpr std::string_view kRevisionKey = "m/rev";
inline constexpr std::string_view kCompactedKey = "m/compact";

std::string object_key(const api::ObjectKey& key);
Result<api::ObjectKey> parse_object_key(std::string_view key);
std::string change_key(Revision revision);
Result<Revision> parse_change_key(std::string_view key);
std::string uid_key(std::string_view uid);
std::string short_id_key(std::string_view id);

// For people: o/VirtualMachine/default/web, c/17.
std::string describe_key(std::string_view key);

std::string seal(std::string_view key, std::string_view payload);
// The payload. Errors: Internal, naming the key, when it is not what was sealed under this key.
Result<std::string_view> unseal(std::string_view key, std::string_view value);

std::string number(std::uint64_t value);
Result<std::uint64_t> parse_number(std::string_view key, std::string_view payload);

std::string object_payload(Revision revision, std::string_view text);
Result<ObjectPtr> parse_object(std::string_view key, std::string_view payload);

struct StoredChange {
  ChangeType type = ChangeType::Added;
  std::string_view object_key;     // "o/…"
  Revision previous_revision = 0;  // 0: Added
  std::string_view text;           // empty: Deleted
  std::string_view previous_text;  // empty: Added
};
std::string change_payload(const StoredChange& change);
Result<StoredChange> parse_change(std::string_view key, std::string_view payload);  // views into payload
Result<Change> decode_change(std::string_view key, Revision revision, const StoredChange& stored);

}  // namespace banger::store::record
