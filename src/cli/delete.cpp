// SPDX-License-Identifier: Apache-2.0
// bangerctl delete: take objects away, and by default wait until they are gone.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/documents.hpp"
#include "cli/manifests.hpp"
#include "cli/verbs.hpp"
#include "cli/wait_for.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

std::string shown(const api::ObjectKey& key) { return fmt::format("{}/{}", api::info(key.kind).singular, printable(key.name)); }

Outcome<std::vector<api::ObjectKey>> keys_of(const DeleteOptions& options, const Session& session) {
  std::vector<api::ObjectKey> keys;
  if (!options.files.empty()) {
    if (!options.words.empty()) return give_up(usage("give either -f or KIND NAME…, not both"));
    const auto manifests = load_manifests(options.files, session);
    if (!manifests) return give_up(manifests.error());
    for (const auto& manifest : *manifests) keys.push_back(api::key_of(manifest.document.object));
    std::ranges::reverse(keys);  // machines before the networks they use
    return keys;
  }
  const auto named = parse_objects(options.words, "delete");
  if (!named) return give_up(named.error());
  for (const auto& one : *named) keys.push_back(key_of(one, session));
  return keys;
}

Outcome<> await_absence(const api::ObjectKey& key, Deadline deadline, const DeleteOptions& options, const Session& session) {
  std::string last = "it is still there";
  const auto gone = [&](const api::Object* object) {
    if (object == nullptr || !object->meta.deletion_time) return true;  // gone, or made anew
    if (api::find_condition(conditions_of(*object), "Ready") != nullptr) last = sentence_of(*object, "Ready");
    if (!object->meta.finalizers.empty()) last += fmt::format("; held by {}", printable(join(object->meta.finalizers, ", ")));
    return false;
  };
  const auto waited = wait_for(key, gone, deadline, session);
  if (!waited) return give_up(waited.error());
  if (*waited == Waited::Done) return {};
  return give_up({kExitTimeout, fmt::format("{} was not gone within {} s: {}; it goes on being deleted, look with: bangerctl "
                                            "describe {} {}",
                                            shown(key), options.timeout.count() / 1000, last, api::info(key.kind).singular,
                                            printable(key.name))});
}

// The manifest directory makes anew what one of its files still declares; whoever deletes it by command should know.
void say_if_declared(const api::ObjectKey& key, const json::value& object) {
  const auto* annotations = find_at(object, "metadata.annotations");
  if (annotations == nullptr || !annotations->is_object()) return;
  const auto source = text_of(annotations->as_object().if_contains("banger.dev/source"));
  if (source.empty()) return;
  print_error(fmt::format("{} is declared by {} and comes back as long as that file declares it; remove it there to be rid of it",
                          shown(key), printable(source)));
}

}  // namespace

Outcome<> remove(const DeleteOptions& options, const Session& session) {
  const auto keys = keys_of(options, session);
  if (!keys) return give_up(keys.error());
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  int exit_code = kExitOk;
  const auto note = [&](const Failure& failure) {
    print_error(failure.message);
    exit_code = failure.exit_code;
  };
  std::vector<api::ObjectKey> going;
  for (const auto& key : *keys) {
    const auto answer = session.client.call({.method = "DELETE", .target = client::object_path(key)});
    if (!answer && client::is_unreachable(answer.error())) return give_up(failure_of(answer.error()));
    if (!answer && options.ignore_not_found && answer.error().code == ErrorCode::NotFound) continue;
    if (!answer) {
      note(failure_of(answer.error(), key));
      continue;
    }
    if (const auto* status = answer->as_object().if_contains("status"); status != nullptr && status->is_string()) {
      print_line(fmt::format("{} deleted", shown(key)));  // a Status: gone at once
      continue;
    }
    say_if_declared(key, *answer);
    if (options.wait) {
      going.push_back(key);
    } else {
      print_line(fmt::format("{} is being deleted", shown(key)));
    }
  }
  flush_output();
  for (const auto& key : going) {
    const auto absent = await_absence(key, deadline, options, session);
    if (!absent && absent.error().exit_code == kExitUnreachable) return absent;
    if (!absent) {
      note(absent.error());
      continue;
    }
    print_line(fmt::format("{} deleted", shown(key)));
    flush_output();
  }
  if (exit_code != kExitOk) return give_up({exit_code, ""});
  return {};
}

}  // namespace banger::cli
