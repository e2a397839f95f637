// SPDX-License-Identifier: Apache-2.0
// bangerctl gc: what of bangerd's is on the host, whose it is, and what happens to what is nobody's.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <chrono>
#include <thread>

#include "base/text.hpp"
#include "cli/documents.hpp"
#include "cli/host_objects.hpp"
#include "cli/table_printer.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

constexpr std::chrono::milliseconds kPause{200};

Outcome<json::value> ask(const Session& session, const json::object& body) {
  auto answer = session.client.call({.method = "POST",
                                     .target = std::string(kHostObjectsPath),
                                     .body = json::serialize(body),
                                     .content_type = "application/json"});
  if (!answer) return give_up(failure_of(answer.error()));
  return *std::move(answer);
}

std::string what_happens(const HostThing& thing) {
  if (thing.fate == "Kept") return "kept";
  if (thing.fate == "Collected") return "is collected";
  if (thing.fate == "NeedsConfirmation") return fmt::format("{}: goes with bangerctl gc --yes", after_colon(thing.reason));
  if (thing.fate == "Waits") return fmt::format("waits: {}", after_colon(thing.reason));
  return fmt::format("left alone: {}", thing.reason);
}

void print_table(const json::value& list) {
  const auto things = things_of(list);
  std::vector<std::vector<std::string>> rows;
  for (const auto& thing : things) {
    const bool orphan = thing.is_orphan();
    std::string owner = orphan ? "orphan" : thing.owner.empty() ? "not ours" : thing.owner;
    if (orphan && !thing.of.empty()) owner += fmt::format(" (of {})", thing.of);
    rows.push_back({thing.type, thing.name, owner, found_by(thing), what_happens(thing)});
  }
  if (rows.empty()) return print_line("nothing of bangerd's is on this host");
  TablePrinter({"TYPE", "NAME", "OWNER", "PROOF", "WHAT HAPPENS"}).print(rows);
}

void print_lines(const json::value& list, std::string_view field, std::string_view how) {
  const auto* lines = find_at(list, field);
  if (lines == nullptr || !lines->is_array()) return;
  for (const auto& line : lines->as_array()) print_line(fmt::format("{}{}", how, printable(text_of(&line))));
}

void print_adopt_mode(const json::value& list) {
  if (const auto why = text_at(list, "adoptMode"); !why.empty()) {
    print_error(fmt::format("adopt mode: {}; nothing is collected (end it with: bangerctl gc --confirm)", printable(why)));
  }
}

// What an orphan needs --yes for, told by name.
void print_rest(const json::value& list, const GcOptions& options) {
  std::size_t orphans = 0;
  for (const auto& thing : things_of(list)) {
    if (!thing.is_orphan()) continue;
    ++orphans;
    print_line(fmt::format("left: {} {}: {}", thing.type, printable(thing.name), what_happens(thing)));
  }
  if (orphans == 0) print_line("no orphans are left");
  if (orphans > 0 && !options.yes) print_line("living machines are ended and data is deleted only with: bangerctl gc --yes");
}

Outcome<> end_adopt_mode(const Session& session) {
  const auto answer = ask(session, {{"endAdoptMode", true}});
  if (!answer) return give_up(answer.error());
  print_line("adopt mode is over: bangerd removes again what nobody wants");
  return {};
}

Outcome<> collect(const GcOptions& options, const Session& session) {
  const auto end = std::chrono::steady_clock::now() + options.timeout;
  json::object all;
  for (;;) {
    const auto answer = ask(session, {{"everything", options.yes}});
    if (!answer) return give_up(answer.error());
    if (options.output == OutputFormat::Table) print_lines(*answer, "done", "");
    const bool unfinished = text_at(*answer, "unfinished") == "true";
    if (!unfinished || std::chrono::steady_clock::now() >= end) {
      if (options.output != OutputFormat::Table) {
        print_host_objects(*answer, options.output);
      } else {
        print_lines(*answer, "failed", "cannot go on: ");
        print_rest(*answer, options);
      }
      if (unfinished)
        return give_up({kExitTimeout, "collecting did not end in time; run it again, or look with: bangerctl gc --dry-run"});
      const auto* failed = find_at(*answer, "failed");
      if (failed != nullptr && failed->is_array() && !failed->as_array().empty())
        return give_up({kExitFailed, "some orphans could not be removed"});
      return {};
    }
    flush_output();
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

Outcome<> gc(const GcOptions& options, const Session& session) {
  if (options.confirm && (options.dry_run || options.yes))
    return give_up(usage("gc --confirm only ends adopt mode; give it alone"));
  if (options.confirm) return end_adopt_mode(session);
  if (!options.dry_run) return collect(options, session);
  const auto list = session.client.get_json(std::string(kHostObjectsPath));
  if (!list) return give_up(failure_of(list.error()));
  if (options.output == OutputFormat::Table) {
    print_table(*list);
    print_adopt_mode(*list);
  } else {
    print_host_objects(*list, options.output);
  }
  return {};
}

}  // namespace banger::cli
