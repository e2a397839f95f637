// SPDX-License-Identifier: Apache-2.0
// How a client wants to see objects (Accept header, includeObject), and the text that shows them so.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "api/object.hpp"
#include "server/message.hpp"
#include "server/status.hpp"
#include "server/table.hpp"

namespace banger::server {

enum class Shape { Object, Table, Metadata };

struct View {
  Shape shape = Shape::Object;
  RowObject include = RowObject::Metadata;
};

// Takes the first entry of the Accept list that can be made. 406 when there is none, 400 for a wrong includeObject.
Answer<View> negotiate(std::string_view accept, const Target& target);

std::string content_type_of(const View& view);
std::string show_object(const View& view, const api::Object& object, WallTime now);
std::string show_list(const View& view, api::Kind kind, std::span<const api::Object> objects, store::Revision revision,
                      WallTime now);

enum class Columns { Included, Omitted };
// The "object" of a watch event.
std::string show_event_object(const View& view, const api::Object& object, Columns columns, WallTime now);
enum class InitialEvents { Going, Ended };
std::string show_bookmark(const View& view, api::Kind kind, store::Revision revision, InitialEvents initial);

}  // namespace banger::server
