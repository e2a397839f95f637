// SPDX-License-Identifier: Apache-2.0
// bangerctl get: objects as tables, JSON, YAML or names; and their changes as they come.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/server_table.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

bool is_table(OutputFormat format) { return format == OutputFormat::Table || format == OutputFormat::Wide; }

TableStyle style_of(const GetOptions& options, const Named& named) {
  return {.wide = options.output == OutputFormat::Wide,
          .with_namespace = options.all_namespaces && named.kind->namespaced,
          .name_prefix = ""};
}

std::string list_target(const GetOptions& options, const Named& named, const Session& session) {
  auto target = client::collection_path(named.kind->kind, options.all_namespaces ? "" : session.ns);
  std::string query;
  if (!named.name.empty()) query += "&fieldSelector=" + client::percent_encode("metadata.name=" + named.name);
  if (!options.selector.empty()) query += "&labelSelector=" + client::percent_encode(options.selector);
  if (!query.empty()) query[0] = '?';
  return target + query;
}

std::string watch_target(const std::string& list, std::string_view revision) {
  return fmt::format("{}{}watch=true&resourceVersion={}", list, list.find('?') == std::string::npos ? '?' : '&', revision);
}

void print_name(const json::value& object) {
  const auto* kind = api::find_kind(text_at(object, "kind"));
  print_line(fmt::format("{}/{}", kind == nullptr ? "object" : kind->singular, printable(text_at(object, "metadata.name"))));
}

void print_document(const json::value& document, OutputFormat format) {
  const auto* items = find_at(document, "items");
  switch (format) {
    case OutputFormat::Json:
      return print_line(pretty_json(document));
    case OutputFormat::Yaml: {
      auto text = clean_yaml(document);
      if (text.ends_with('\n')) text.pop_back();
      return print_line(text);
    }
    case OutputFormat::Name:
      if (items == nullptr) return print_name(document);
      for (const auto& item : items->as_array()) print_name(item);
      return;
    case OutputFormat::Table:
    case OutputFormat::Wide:
      return;
  }
}

// A Table or a list document: objects named one by one come together in one.
Outcome<json::value> fetch(const GetOptions& options, const Named& named, const Session& session) {
  const auto accept = is_table(options.output) ? client::kTableType : "application/json";
  if (named.name.empty() || options.all_namespaces) {
    auto listed = session.client.get_json(list_target(options, named, session), accept);
    if (!listed) return give_up(failure_of(listed.error()));
    return *std::move(listed);
  }
  const auto key = key_of(named, session);
  auto object = session.client.get_json(client::object_path(key), accept);
  if (!object) return give_up(failure_of(object.error(), key));
  return *std::move(object);
}

// Prints what follows the list: rows or documents, event by event, until the watch is broken off from outside.
Outcome<> follow(const GetOptions& options, const Named& named, const Session& session) {
  const bool table = is_table(options.output);
  const auto accept = table ? client::kTableType : "application/json";
  const auto target = list_target(options, named, session);
  ServerTable printer(style_of(options, named));
  bool known = false;
  for (;;) {
    const auto listed = session.client.get_json(target, accept);
    if (!listed) return give_up(failure_of(listed.error()));
    const auto* found = find_at(*listed, table ? "rows" : "items");
    if (!named.name.empty() && !known && (found == nullptr || !found->is_array() || found->as_array().empty())) {
      return give_up(failure_of({ErrorCode::NotFound, ""}, key_of(named, session)));
    }
    known = true;
    if (table) {
      printer.print(*listed);
    } else if (const auto* items = find_at(*listed, "items")) {
      for (const auto& item : items->as_array()) print_document(item, options.output);
    }
    flush_output();
    auto revision = text_at(*listed, "metadata.resourceVersion");
    for (bool gone = false; !gone;) {
      const auto ended = session.client.watch(watch_target(target, revision), accept,
                                              [&](std::string_view type, const json::value& object) {
                                                revision = text_at(object, "metadata.resourceVersion");
                                                if (type == "BOOKMARK") return true;
                                                if (table) {
                                                  printer.print_event(type, object);
                                                } else {
                                                  print_document(object, options.output);
                                                }
                                                flush_output();
                                                return true;
                                              },
                                              {});
      gone = !ended && ended.error().code == ErrorCode::Gone;
      if (!ended && !gone) return give_up(failure_of(ended.error()));
    }
  }
}

void say_nothing_found(const GetOptions& options, const Named& named, const Session& session) {
  if (!named.name.empty()) {
    return print_error(fmt::format("{} \"{}\" not found{}", named.kind->singular, printable(named.name),
                                   named.kind->namespaced ? " in any namespace" : ""));
  }
  if (!named.kind->namespaced) return print_error(fmt::format("no {} found", named.kind->plural));
  if (options.all_namespaces) return print_error(fmt::format("no {} found in any namespace", named.kind->plural));
  print_error(fmt::format("no {} found in namespace \"{}\"", named.kind->plural, session.ns));
}

// What is asked for of one kind, in one table or as documents.
struct Group {
  const api::KindInfo* kind = nullptr;
  std::vector<Named> members;
};

std::vector<Group> grouped(const std::vector<Named>& resources) {
  std::vector<Group> groups;
  for (const auto& named : resources) {
    auto it = std::ranges::find(groups, named.kind, &Group::kind);
    if (it == groups.end()) it = groups.insert(groups.end(), {named.kind, {}});
    it->members.push_back(named);
  }
  return groups;
}

class Printer {
 public:
  Printer(const GetOptions& options, const Session& session) : options_(options), session_(session) {}

  Outcome<> get(const std::vector<Named>& resources) {
    const auto groups = grouped(resources);
    for (const auto& group : groups) {
      auto style = style_of(options_, group.members.front());
      if (groups.size() > 1) style.name_prefix = fmt::format("{}/", group.kind->singular);
      if (auto printed = get_group(group, std::move(style)); !printed) return printed;
    }
    if (!is_table(options_.output)) print_documents(resources.size() == 1);
    if (exit_code_ != kExitOk) return give_up({exit_code_, ""});
    return {};
  }

 private:
  Outcome<> get_group(const Group& group, TableStyle style) {
    ServerTable table(std::move(style));
    std::vector<json::value> found;
    for (const auto& named : group.members) {
      auto document = fetch(options_, named, session_);
      if (!document && document.error().exit_code == kExitUnreachable) return give_up(document.error());
      if (!document) {
        print_error(document.error().message);
        exit_code_ = document.error().exit_code;
      } else if (is_table(options_.output)) {
        const auto* rows = find_at(*document, "rows");
        if (rows != nullptr && rows->is_array() && rows->as_array().empty()) {
          say_nothing_found(options_, named, session_);
          if (!named.name.empty()) exit_code_ = kExitFailed;
        } else {
          found.push_back(*std::move(document));
        }
      } else {
        documents_.push_back(*std::move(document));
      }
    }
    if (found.empty()) return {};
    if (tables_++ > 0) print_line("");
    table.print_all(found);
    return {};
  }

  // One document as it came; several as one List.
  void print_documents(bool alone) {
    if (documents_.empty()) return;
    if (alone || options_.output == OutputFormat::Name) {
      for (const auto& document : documents_) print_document(document, options_.output);
      return;
    }
    json::array items;
    for (auto& document : documents_) {
      if (const auto* inner = find_at(document, "items")) {
        items.insert(items.end(), inner->as_array().begin(), inner->as_array().end());
      } else {
        items.push_back(std::move(document));
      }
    }
    print_document(json::object{{"apiVersion", "v1"}, {"kind", "List"}, {"items", std::move(items)}}, options_.output);
  }

  const GetOptions& options_;
  const Session& session_;
  std::vector<json::value> documents_;
  int tables_ = 0;
  int exit_code_ = kExitOk;
};

}  // namespace

Outcome<> get(const GetOptions& options, const Session& session) {
  const auto resources = parse_resources(options.words);
  if (!resources) return give_up(resources.error());
  const bool by_name = !resources->front().name.empty();
  if (by_name && !options.selector.empty()) return give_up(usage("name objects, or select them by -l, not both"));
  const bool sources = resources->front().kind->kind == api::Kind::ManifestSource;
  if (sources && resources->size() == 1 && is_table(options.output)) return get_sources(options, session);
  if (!options.watch) return Printer(options, session).get(*resources);
  if (resources->size() != 1) return give_up(usage("-w watches one KIND or one KIND NAME"));
  return follow(options, resources->front(), session);
}

}  // namespace banger::cli
