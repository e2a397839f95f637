// SPDX-License-Identifier: Apache-2.0
// bangerctl get sources: a row a manifest file; bangerctl sources confirm: let removals that wait happen.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/codec.hpp"
#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/table_printer.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

const api::ManifestSource& source_of(const api::Object& object) { return std::get<api::ManifestSource>(object.body); }

Outcome<std::vector<api::Object>> list_sources(const std::string& name, const Session& session) {
  if (!name.empty()) {
    const api::ObjectKey key{api::Kind::ManifestSource, "", name};
    auto object = session.client.get(key);
    if (!object) return give_up(failure_of(object.error(), key));
    return std::vector<api::Object>{*std::move(object)};
  }
  const auto listed = session.client.get_json(client::collection_path(api::Kind::ManifestSource, ""));
  if (!listed) return give_up(failure_of(listed.error()));
  std::vector<api::Object> sources;
  const auto* items = find_at(*listed, "items");
  if (items == nullptr || !items->is_array()) return sources;
  for (const auto& item : items->as_array()) {
    auto object = api::decode_stored(json::serialize(item));
    if (!object) return give_up(failure_of(object.error()));
    sources.push_back(*std::move(object));
  }
  return sources;
}

// What keeps the whole directory from being applied; empty when nothing does.
std::string trouble_of(const api::Object& object) {
  const auto* ready = api::find_condition(source_of(object).status.conditions, "Ready");
  if (ready == nullptr || ready->reason != "DirectoryUnavailable") return {};
  return fmt::format("manifestsource/{}: {}", object.meta.name, ready->message);
}

std::vector<std::vector<std::string>> rows_of(const api::Object& object) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& file : source_of(object).status.files) {
    rows.push_back({object.meta.name, file.file, file.state, std::to_string(file.objects), file.message});
  }
  for (const auto& removal : source_of(object).status.waiting_removals) {
    rows.push_back({object.meta.name, "-", "Waiting", "1",
                    fmt::format("removal of {} waits; confirm with: bangerctl sources confirm {}", removal, object.meta.name)});
  }
  return rows;
}

Outcome<> confirm(const api::Object& source, const Session& session) {
  const auto& status = source_of(source).status;
  const json::object patch{{"spec", json::object{{"confirmedPruneToken", status.prune_token}}}};
  const auto written = session.client.merge_patch(api::key_of(source), patch);
  if (!written) return give_up(failure_of(written.error()));
  for (const auto& removal : status.waiting_removals) {
    print_line(fmt::format("manifestsource/{}: the removal of {} is confirmed", printable(source.meta.name), printable(removal)));
  }
  return {};
}

}  // namespace

Outcome<> get_sources(const GetOptions& options, const Session& session) {
  if (options.watch)
    return give_up(usage("get sources has no -w; use: bangerctl get sources -o yaml -w, or bangerctl events -w"));
  if (!options.selector.empty()) return give_up(usage("get sources has no -l; use: bangerctl get sources -o yaml -l SELECTOR"));
  const auto resources = parse_resources(options.words);
  if (!resources) return give_up(resources.error());
  TablePrinter table({"SOURCE", "FILE", "STATE", "OBJECTS", "MESSAGE"});
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> directories;
  std::vector<std::string> troubles;
  for (const auto& named : *resources) {
    const auto sources = list_sources(named.name, session);
    if (!sources) return give_up(sources.error());
    for (const auto& source : *sources) {
      auto more = rows_of(source);
      if (auto trouble = trouble_of(source); !trouble.empty()) troubles.push_back(std::move(trouble));
      directories.push_back(source_of(source).spec.directory);
      rows.insert(rows.end(), more.begin(), more.end());
    }
  }
  if (!rows.empty()) table.print(rows);
  if (rows.empty() && directories.empty()) print_error("bangerd watches no manifest directory; start it with --manifests DIR");
  for (const auto& trouble : troubles) print_error(printable(trouble));
  if (rows.empty() && troubles.empty() && !directories.empty()) {
    print_error(fmt::format("no manifest files in {}", printable(join(directories, ", "))));
  }
  return {};
}

Outcome<> confirm_sources(const ConfirmOptions& options, const Session& session) {
  const auto sources = list_sources(options.source, session);
  if (!sources) return give_up(sources.error());
  bool any = false;
  for (const auto& source : *sources) {
    const auto& body = source_of(source);
    if (body.status.prune_token.empty() || body.status.waiting_removals.empty()) continue;
    if (auto confirmed = confirm(source, session); !confirmed) return confirmed;
    any = true;
  }
  if (!any) print_line("no removals wait for a confirmation");
  return {};
}

}  // namespace banger::cli
