// SPDX-License-Identifier: Apache-2.0
// Label and field selectors, as Kubernetes writes them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/object.hpp"
#include "base/result.hpp"

namespace banger::server {

// "app=web,tier in (a,b),!old,size>3"; all requirements must hold. The default one matches everything.
class LabelSelector {
 public:
  static Result<LabelSelector> parse(std::string_view text);  // Invalid: a sentence that names the requirement
  [[nodiscard]] bool matches(const std::map<std::string, std::string>& labels) const;

 private:
  enum class Operator { Exists, Absent, In, NotIn, Greater, Less };
  struct Requirement {
    std::string key;
    Operator op = Operator::Exists;
    std::vector<std::string> values;
  };
  static Result<Requirement> parse_one(std::string_view text);
  static bool holds(const Requirement& requirement, const std::map<std::string, std::string>& labels);
  std::vector<Requirement> requirements_;
};

// "metadata.name=web,metadata.namespace!=x"; events also know involvedObject.* , reason and type.
class FieldSelector {
 public:
  static Result<FieldSelector> parse(std::string_view text, api::Kind kind);  // Invalid: "field label not supported: x"
  [[nodiscard]] bool matches(const api::Object& object) const;

 private:
  struct Requirement {
    std::string field;
    bool equal = true;
    std::string value;
  };
  std::vector<Requirement> requirements_;
};

// What a list or a watch is about.
struct Selection {
  LabelSelector labels;
  FieldSelector fields;
  std::string ns;  // empty: all
  [[nodiscard]] bool matches(const api::Object& object) const;
};

}  // namespace banger::server
