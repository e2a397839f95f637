// SPDX-License-Identifier: Apache-2.0
// Objects to and from JSON and YAML, driven by the one schema table (schema.hpp). Defaults, validation and refusals with field
// paths happen here and nowhere else.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/object.hpp"
#include "base/result.hpp"

namespace banger::api {

// One thing wrong with an input. line and column are 1-based; 0 where there is no text position (JSON bodies).
struct Refusal {
  std::size_t line = 0;
  std::size_t column = 0;
  std::string field;  // "spec.disks[0].name"; empty: the document as a whole
  std::string
      reason;  // FieldValueRequired | FieldValueInvalid | FieldValueNotSupported | FieldValueDuplicate | FieldValueForbidden |
               // FieldValueTooLong | FieldValueTooMany | FieldValueTypeInvalid | UnknownField | Syntax
  std::string message;  // "must be between 1 and 32, is 99"
  bool operator==(const Refusal&) const = default;
};

// "web.yaml:7:9: spec.cpus: must be between 1 and 32, is 99"; parts that are not there are left out.
std::string to_string(const Refusal& refusal, std::string_view file);

template <class T>
struct Decoded {
  T value{};
  std::vector<Refusal> refusals;  // empty: value is good. All errors of a document at once, in the order of the text;
                                  // beyond the first 100 their number
};

// A manifest file: any number of documents. Documents without refusals are in value even when others are refused; whether half a
// file counts is the caller's choice (intake: no). Limits: 128 KiB, depth 32, 20 000 nodes; anchors, aliases, tags, duplicate
// keys, NUL and invalid UTF-8 are refused. A document's status, and metadata that only the server sets, are refused.
struct ManifestDocument {
  Object object;  // defaults filled in, validated
  std::size_t line = 1;
  std::string canonical;        // what the user wrote, as sorted JSON without defaults: input of three-way merges
  bool says_namespace = false;  // metadata.namespace stands in the text; else the default was filled in, also in canonical
};
Decoded<std::vector<ManifestDocument>> decode_manifest(std::string_view yaml);

// An object as a client sends it (create, replace; the result of a patch). Server-owned metadata is read but the caller overrides
// it.
Decoded<Object> decode_object(const boost::json::value& json);
Decoded<Object> decode_object(std::string_view json_text);

// What the store holds: everything, no validation beyond types; unknown fields are ignored. Errors: Internal when it is not ours.
Result<Object> decode_stored(std::string_view json_text);

boost::json::value encode(const Object& object);  // apiVersion, kind, metadata, spec, status in this order; empty parts left out
std::string encode_text(const Object& object);    // the same, compact; equal objects give equal text
std::string encode_yaml(const Object& object);    // for people (get -o yaml)
std::string yaml_of(const boost::json::value& json);

// Errors that relate several fields or need to look at the old object (immutable fields). old may be null (create).
std::vector<Refusal> validate(const Object& object, const Object* old);

// RFC 7386 merge patch on target, in place.
void merge_patch(boost::json::value& target, const boost::json::value& patch);

// RFC 3339 with seconds and Z, as Kubernetes writes metadata times.
std::string format_time(WallTime time);
std::optional<WallTime> parse_time(std::string_view text);

// Kubernetes quantities, exactly: "512Mi", "1.5Gi", "4G", "1000". Invalid for fractions of a byte, signs, unknown suffixes,
// overflow.
Result<Bytes> parse_quantity(std::string_view text);
std::string format_quantity(Bytes size);  // the largest binary suffix that divides it: 1Gi, 1536Mi, 1000

}  // namespace banger::api
