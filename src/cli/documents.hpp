// SPDX-License-Identifier: Apache-2.0
// JSON documents: reading fields that may be missing, and printing whole ones for people.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

namespace banger::cli {

// The value at "metadata.labels" below document; null when there is none.
const boost::json::value* find_at(const boost::json::value& document, std::string_view path);
// Texts as they are, numbers and booleans in digits and words; "" for anything else.
std::string text_of(const boost::json::value* value);
std::string text_at(const boost::json::value& document, std::string_view path);

// Indented JSON; characters that could move a terminal's cursor are \u escapes.
std::string pretty_json(const boost::json::value& document);
// YAML with such characters escaped.
std::string clean_yaml(const boost::json::value& document);

}  // namespace banger::cli
