// SPDX-License-Identifier: Apache-2.0
// The tables of docs/kinds/, written from the schema.
#pragma once

#include <string>
#include <string_view>

#include "api/object.hpp"
#include "base/result.hpp"

namespace banger::api {

// Markdown table of the fields below part ("spec", "status") of the kind; part "" stands for an event's own fields.
std::string field_table(Kind kind, std::string_view part);

// page with the text between each "<!-- fields: Kind.part -->" and the "<!-- end of fields -->" after it written anew. Errors:
// Invalid for markers that name no kind or part, or are not closed.
Result<std::string> refresh_tables(std::string_view page);

}  // namespace banger::api
