// SPDX-License-Identifier: Apache-2.0
// The manifest file of bangerd's directory that an object comes from.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "cli/session.hpp"

namespace banger::cli {

using Annotations = std::map<std::string, std::string>;

// Its path, where the source says its directory; empty: the object comes from no file.
std::string origin_of(const Annotations& annotations, const Session& session);

// The file said this field of the spec when it was read last; empty: whatever it said.
bool origin_says(const Annotations& annotations, std::string_view field);

// Whoever edits such an object by command should know that the file has the last word.
void say_origin(const api::ObjectKey& key, const Annotations& annotations, const Session& session);

}  // namespace banger::cli
