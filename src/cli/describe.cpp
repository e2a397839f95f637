// SPDX-License-Identifier: Apache-2.0
// bangerctl describe: all that is known of an object, for people.
#include "cli/describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "api/codec.hpp"
#include "api/three_way.hpp"
#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/event_list.hpp"
#include "cli/host_objects.hpp"
#include "cli/verbs.hpp"
#include "cli/wait_for.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

std::string joined(const std::map<std::string, std::string>& pairs) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : pairs) {
    if (key != api::kLastApplied) parts.push_back(fmt::format("{}={}", key, value));
  }
  return join(parts, ", ");
}

std::string time_text(const std::optional<WallTime>& time) { return time ? api::format_time(*time) : ""; }

void describe_envelope(const api::Object& object) {
  const auto& meta = object.meta;
  print_field("Kind", api::info(api::kind_of(object)).name);
  print_field("Name", meta.name);
  if (!meta.ns.empty()) print_field("Namespace", meta.ns);
  print_field("Uid", meta.uid);
  print_field("Created", time_text(meta.creation_time));
  if (meta.deletion_time) print_field("Deleting since", time_text(meta.deletion_time));
  if (const auto labels = joined(meta.labels); !labels.empty()) print_field("Labels", labels);
  if (const auto annotations = joined(meta.annotations); !annotations.empty()) print_field("Annotations", annotations);
  if (!meta.finalizers.empty()) print_field("Finalizers", join(meta.finalizers, ", "));
  const auto observed = std::visit(
      [](const auto& body) -> std::optional<std::uint64_t> {
        if constexpr (requires { body.status.observed_generation; }) {
          return body.status.observed_generation;
        } else {
          return std::nullopt;
        }
      },
      object.body);
  print_field("Generation",
              observed ? fmt::format("{}, last looked at: {}", meta.generation, *observed) : std::to_string(meta.generation));
}

// The leaves below value, as rows (path, text); lists of scalars are one leaf.
void collect(const json::value& value, const std::string& path, std::map<std::string, std::string>& leaves) {
  if (value.is_object()) {
    for (const auto& [name, inner] : value.as_object()) {
      collect(inner, path.empty() ? std::string(name) : fmt::format("{}.{}", path, std::string_view(name)), leaves);
    }
  } else if (value.is_array()) {
    const auto& array = value.as_array();
    const bool scalars = std::ranges::none_of(array, [](const json::value& v) { return v.is_object() || v.is_array(); });
    if (scalars) {
      std::vector<std::string> texts;
      for (const auto& element : array) texts.push_back(text_of(&element));
      leaves[path] = join(texts, ", ");
    } else {
      for (std::size_t i = 0; i < array.size(); ++i) collect(array[i], fmt::format("{}[{}]", path, i), leaves);
    }
  } else {
    leaves[path] = text_of(&value);
  }
}

// Kinds without a page of their own: spec and status field by field, side by side where they have the same name.
void describe_fields(const api::Object& object) {
  const auto document = api::encode(object);
  std::map<std::string, std::string> desired;
  std::map<std::string, std::string> observed;
  if (const auto* spec = find_at(document, "spec")) collect(*spec, "", desired);
  if (const auto* status = find_at(document, "status"); status != nullptr && status->is_object()) {
    auto rest = status->as_object();
    rest.erase("conditions");
    rest.erase("observedGeneration");
    rest.erase("kernelObjects");
    collect(rest, "", observed);
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, value] : desired) {
    const auto it = observed.find(name);
    rows.push_back({name, value, it == observed.end() ? "" : it->second});
    if (it != observed.end()) observed.erase(it);
  }
  for (const auto& [name, value] : observed) rows.push_back({name, "", value});
  print_section("Desired and observed", {"FIELD", "DESIRED", "OBSERVED"}, rows);
}

void describe_event(const api::Event& event) {
  print_section("Event", {"FIELD", "VALUE"},
                {{"object", api::to_string(event.involved)},
                 {"type", event.type == api::EventType::Normal ? "Normal" : "Warning"},
                 {"reason", event.reason},
                 {"message", event.message},
                 {"count", std::to_string(event.count)},
                 {"first seen", time_text(event.first_time)},
                 {"last seen", time_text(event.last_time)}});
}

void describe_conditions(const api::Object& object) {
  if (!std::visit([](const auto& body) { return requires { body.status.conditions; }; }, object.body)) return;
  std::vector<std::vector<std::string>> rows;
  for (const auto& condition : conditions_of(object)) {
    const auto* status = condition.status == api::ConditionStatus::True    ? "True"
                         : condition.status == api::ConditionStatus::False ? "False"
                                                                           : "Unknown";
    rows.push_back({condition.type, status, condition.reason, time_text(condition.last_transition_time), condition.message});
  }
  print_section("Conditions", {"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}, rows);
}

Outcome<> describe_events(const api::ObjectKey& key, const Session& session) {
  auto listed = session.client.get_json(events_target(key) + "&includeObject=Object", client::kTableType);
  if (!listed) return give_up(failure_of(listed.error()));
  sort_by_time(*listed);
  std::vector<std::vector<std::string>> rows;
  if (const auto* found = find_at(*listed, "rows"); found != nullptr && found->is_array()) {
    for (const auto& row : found->as_array()) {
      const auto* cells = find_at(row, "cells");
      if (cells == nullptr || !cells->is_array() || cells->as_array().size() < 6) continue;
      const auto& cell = cells->as_array();
      rows.push_back({text_of(&cell[0]), text_of(&cell[1]), text_of(&cell[2]), text_of(&cell[4]), text_of(&cell[5])});
    }
  }
  print_section("Events", {"LAST SEEN", "TYPE", "REASON", "COUNT", "MESSAGE"}, rows);
  return {};
}

bool has_things_on_the_host(api::Kind kind) {
  return kind == api::Kind::VirtualMachine || kind == api::Kind::Network || kind == api::Kind::Image || kind == api::Kind::Kernel;
}

// What is there at this moment, and how bangerd found it: by what stands on the thing itself, by its record, or by both.
void describe_host_things(const api::Object& object, const Session& session) {
  const auto list = session.client.get_json(std::string(kHostObjectsPath));
  if (!list) {
    print_line(fmt::format("\nOn the host: not looked at now: {}", printable(list.error().message)));
    return;
  }
  const auto node = fmt::format("banger-{}-root", object.meta.uid);  // what its base loop is shared for
  std::vector<std::vector<std::string>> rows;
  for (const auto& thing : things_of(*list)) {
    if (thing.uid != object.meta.uid && thing.in_use != node) continue;
    rows.push_back({thing.type, thing.name, found_by(thing), thing.in_use.empty() ? "-" : thing.in_use,
                    thing.fate == "LeftAlone" ? thing.reason : ""});
  }
  print_section("On the host", {"TYPE", "NAME", "FOUND BY", "IN USE BY", "REMARK"}, rows);
}

Outcome<> describe_one(const api::Object& object, const Session& session) {
  describe_envelope(object);
  if (const auto* vm = std::get_if<api::VirtualMachine>(&object.body)) {
    describe_vm(*vm);
  } else if (const auto* event = std::get_if<api::Event>(&object.body)) {
    describe_event(*event);
    return {};
  } else {
    describe_fields(object);
    if (const auto* network = std::get_if<api::Network>(&object.body)) describe_kernel_objects(network->status.kernel_objects);
  }
  if (has_things_on_the_host(api::kind_of(object))) describe_host_things(object, session);
  describe_conditions(object);
  return describe_events(api::key_of(object), session);
}

// The objects that a resource stands for.
Outcome<std::vector<api::Object>> load(const Named& named, const Session& session) {
  const auto key = key_of(named, session);
  if (!named.name.empty()) {
    auto object = session.client.get(key);
    if (!object) return give_up(failure_of(object.error(), key));
    return std::vector<api::Object>{*std::move(object)};
  }
  const auto listed = session.client.get_json(client::collection_path(key.kind, key.ns));
  if (!listed) return give_up(failure_of(listed.error()));
  std::vector<api::Object> objects;
  if (const auto* items = find_at(*listed, "items"); items != nullptr && items->is_array()) {
    for (const auto& item : items->as_array()) {
      auto object = api::decode_stored(json::serialize(item));
      if (!object) return give_up(failure_of(object.error()));
      objects.push_back(*std::move(object));
    }
  }
  if (objects.empty()) print_error(fmt::format("no {} found", named.kind->plural));
  return objects;
}

}  // namespace

void print_field(std::string_view name, std::string_view value) {
  print_line(fmt::format("{:<16}{}", fmt::format("{}:", name), printable(value)));
}

Outcome<> describe(const DescribeOptions& options, const Session& session) {
  const auto resources = parse_resources(options.words);
  if (!resources) return give_up(resources.error());
  bool first = true;
  for (const auto& named : *resources) {
    const auto objects = load(named, session);
    if (!objects) return give_up(objects.error());
    for (const auto& object : *objects) {
      if (!std::exchange(first, false)) print_line("\n");
      if (auto done = describe_one(object, session); !done) return done;
    }
  }
  return {};
}

}  // namespace banger::cli
