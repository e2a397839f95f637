// SPDX-License-Identifier: Apache-2.0
// Rows of the kinds that only the daemon writes: ManifestSource and Event.
#include <array>

#include "api/rows.hpp"

namespace banger::api::schema {

template <>
std::span<const Field> fields_of<SourceFileStatus>() {
  static const Field kRows[] = {
      {.name = "file", .member = member<&SourceFileStatus::file>(), .doc = "path within the directory", .required = true},
      {.name = "state", .member = member<&SourceFileStatus::state>(), .doc = "Applied, Invalid, Conflict or Waiting"},
      {.name = "objects", .member = member<&SourceFileStatus::objects>(), .doc = "how many objects it holds", .always = true},
      {.name = "message", .member = member<&SourceFileStatus::message>(), .doc = "what is wrong, with line and column"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ManifestSourceSpec>() {
  static const Field kRows[] = {
      {.name = "directory",
       .member = member<&ManifestSourceSpec::directory>(),
       .doc = "the watched directory",
       .required = true,
       .format = Format::AbsolutePath},
      {.name = "confirmedPruneToken",
       .member = member<&ManifestSourceSpec::confirmed_prune_token>(),
       .doc = "the removals that wait under this token may go",
       .format = Format::Line},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ManifestSourceStatus>() {
  static const Field kRows[] = {
      {.name = "observedGeneration",
       .member = member<&ManifestSourceStatus::observed_generation>(),
       .doc = "the generation that the status speaks of",
       .min = 0},
      {.name = "conditions",
       .member = member<&ManifestSourceStatus::conditions>(),
       .doc = "Ready, PruneSuspended",
       .list_key = "type"},
      {.name = "files", .member = member<&ManifestSourceStatus::files>(), .doc = "a row a file", .list_key = "file"},
      {.name = "waitingRemovals",
       .member = member<&ManifestSourceStatus::waiting_removals>(),
       .doc = "objects whose removal waits to be confirmed"},
      {.name = "pruneToken", .member = member<&ManifestSourceStatus::prune_token>(), .doc = "the token they wait under"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ManifestSource>() {
  static const Field kRows[] = {
      {.name = "spec", .member = member<&ManifestSource::spec>(), .doc = "the place"},
      {.name = "status", .member = member<&ManifestSource::status>(), .doc = "what was read from it", .server_owned = true},
  };
  return kRows;
}

template <>
std::span<const std::string_view> spellings_of<EventType>() {
  static constexpr std::array<std::string_view, 2> kSpellings{"Normal", "Warning"};
  return kSpellings;
}

namespace {

std::span<const Field> involved_fields() {
  static const Field kRows[] = {
      {.name = "kind", .member = member<&Event::involved, &ObjectKey::kind>(), .doc = "kind of the object", .required = true},
      {.name = "namespace", .member = member<&Event::involved, &ObjectKey::ns>(), .doc = "namespace of the object"},
      {.name = "name", .member = member<&Event::involved, &ObjectKey::name>(), .doc = "name of the object", .required = true},
      {.name = "uid", .member = member<&Event::involved_uid>(), .doc = "uid of the object"},
  };
  return kRows;
}

const Type& involved_type() {
  static const Type kType{.shape = Shape::Struct, .fields = &involved_fields, .prototype = type_of<Event>().prototype};
  return kType;
}

}  // namespace

template <>
std::span<const Field> fields_of<Event>() {
  static const Field kRows[] = {
      {.name = "involvedObject",
       .member = nested<&involved_type>(),
       .doc = "the object that the event is about",
       .required = true},
      {.name = "type", .member = member<&Event::type>(), .doc = "`Warning`: somebody may have to act"},
      {.name = "reason", .member = member<&Event::reason>(), .doc = "one CamelCase word for programs", .required = true},
      {.name = "message", .member = member<&Event::message>(), .doc = "a sentence for people"},
      {.name = "count", .member = member<&Event::count>(), .doc = "how often it happened", .always = true, .min = 0},
      {.name = "firstTimestamp", .member = member<&Event::first_time>(), .doc = "when it happened first"},
      {.name = "lastTimestamp", .member = member<&Event::last_time>(), .doc = "when it happened last"},
  };
  return kRows;
}

}  // namespace banger::api::schema
