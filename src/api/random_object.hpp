// SPDX-License-Identifier: Apache-2.0
// For tests: values drawn over the schema from a seed.
#pragma once

#include <cstdint>
#include <string>

#include "api/object.hpp"
#include "api/schema.hpp"
#include "base/random.hpp"

namespace banger::api::schema {

// Anything: whatever the members can hold. Valid: what the rows admit; rules between fields may still be broken.
enum class Values { Anything, Valid };

class RandomObjects {
 public:
  RandomObjects(std::uint64_t seed, Values values) : random_(seed), values_(values) {}

  Object object(Kind kind);
  void fill_fields(std::span<const Field> fields, void* owner);
  std::uint64_t below(std::uint64_t bound);
  // Valid UTF-8 with everything that needs care in JSON and YAML.
  std::string awkward_text();

 private:
  void fill(const Field& field, const Type& type, void* value);
  std::string text(const Field& field);
  std::int64_t number(const Field& field, const Type& type);

  SeededRandom random_;
  Values values_;
  std::uint64_t serial_ = 0;
};

}  // namespace banger::api::schema
