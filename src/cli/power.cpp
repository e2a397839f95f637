// SPDX-License-Identifier: Apache-2.0
// bangerctl start, stop, restart: edits of the desired state, nothing else; --wait tells how they came out.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/random.hpp"
#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/origin.hpp"
#include "cli/verbs.hpp"
#include "cli/wait_for.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

const api::VirtualMachine& vm_of(const api::Object& object) { return std::get<api::VirtualMachine>(object.body); }

// Which run of the VMM this is; nothing while there is none.
std::pair<std::int64_t, std::uint64_t> run_of(const api::VirtualMachineStatus& status) {
  return status.vmm ? std::pair{status.vmm->pid, status.vmm->start_time_ticks} : std::pair<std::int64_t, std::uint64_t>{};
}

struct Edit {
  std::string_view said;  // "starting"
  json::object spec;
  // The goal of --wait, of the object after the edit.
  std::function<bool(const api::Object& after, const api::Object& now)> reached;
  std::function<std::string(const api::Object& now)> verdict;
  std::string_view condition;  // that explains why it is not reached
};

bool is_ready(const api::Object& after, const api::Object& now) {
  const auto* ready = api::find_condition(vm_of(now).status.conditions, "Ready");
  return ready != nullptr && ready->status == api::ConditionStatus::True && ready->observed_generation >= after.meta.generation;
}

bool is_stopped(const api::Object& after, const api::Object& now) {
  const auto& status = vm_of(now).status;
  return status.phase == "Stopped" && status.observed_generation >= after.meta.generation;
}

std::string stop_verdict(const api::Object& now) {
  const auto* clean = api::find_condition(vm_of(now).status.conditions, "CleanShutdown");
  if (clean == nullptr) return "stopped";
  const auto* word = clean->status == api::ConditionStatus::True ? "stopped cleanly" : "stopped, not cleanly";
  return printable(fmt::format("{} ({}): {}", word, clean->reason, clean->message));
}

std::string ready_verdict(const api::Object& now) {
  const auto* ready = api::find_condition(vm_of(now).status.conditions, "Ready");
  return ready == nullptr ? "ready" : printable(fmt::format("ready: {}", ready->message));
}

Outcome<> await(const api::Object& after, const Edit& edit, const PowerOptions& options, Deadline deadline,
                const Session& session) {
  const auto key = api::key_of(after);
  std::string verdict;
  std::string last;
  bool vanished = false;
  const auto check = [&](const api::Object* now) {
    vanished = now == nullptr || now->meta.uid != after.meta.uid;
    if (vanished) return true;
    last = sentence_of(*now, edit.condition);
    if (!edit.reached(after, *now)) return false;
    verdict = edit.verdict(*now);
    return true;
  };
  const auto waited = wait_for(key, check, deadline, session);
  if (!waited) return give_up(waited.error());
  if (vanished) return give_up({kExitFailed, fmt::format("virtualmachine/{} was deleted meanwhile", printable(key.name))});
  if (*waited == Waited::TimedOut) {
    return give_up(
        {kExitTimeout, fmt::format("virtualmachine/{} is not there yet after {} s: {}; look with: bangerctl describe vm {}",
                                   printable(key.name), options.timeout.count() / 1000, last, printable(key.name))});
  }
  print_line(fmt::format("virtualmachine/{} {}", printable(key.name), verdict));
  flush_output();
  return {};
}

// Sends the edit for every name, then waits for all of them together.
Outcome<> edit_all(const PowerOptions& options, const Session& session,
                   const std::function<Outcome<Edit>(const api::Object& before)>& edit_for) {
  int exit_code = kExitOk;
  std::vector<std::pair<api::Object, Edit>> sent;
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  std::vector<std::string> names;
  for (const auto& word : options.names) {
    auto name = vm_name(word);
    if (!name) return give_up(name.error());
    names.push_back(*std::move(name));
  }
  for (const auto& name : names) {
    const api::ObjectKey key{api::Kind::VirtualMachine, session.ns, name};
    const auto failed = [&](const Failure& failure) {
      print_error(failure.message);
      exit_code = failure.exit_code;
      return failure.exit_code == kExitUnreachable;
    };
    const auto before = session.client.get(key);
    if (!before) {
      if (failed(failure_of(before.error(), key))) return give_up({kExitUnreachable, ""});
      continue;
    }
    auto edit = edit_for(*before);
    if (!edit) {
      failed(edit.error());
      continue;
    }
    auto after = session.client.merge_patch(key, json::object{{"spec", edit->spec}});
    if (!after) {
      if (failed(failure_of(after.error(), key))) return give_up({kExitUnreachable, ""});
      continue;
    }
    if (!options.wait) print_line(fmt::format("virtualmachine/{} {}", printable(name), edit->said));
    const auto& annotations = after->meta.annotations;
    const bool file_decides =
        std::ranges::any_of(edit->spec, [&](const auto& field) { return origin_says(annotations, field.key()); });
    if (file_decides && after->meta.generation != before->meta.generation) say_origin(key, annotations, session);
    sent.emplace_back(*std::move(after), *std::move(edit));
  }
  for (const auto& [after, edit] : sent) {
    if (!options.wait) break;
    const auto reached = await(after, edit, options, deadline, session);
    if (reached) continue;
    print_error(reached.error().message);
    exit_code = reached.error().exit_code;
  }
  if (exit_code != kExitOk) return give_up({exit_code, ""});
  return {};
}

}  // namespace

Outcome<> start(const PowerOptions& options, const Session& session) {
  return edit_all(options, session, [](const api::Object&) -> Outcome<Edit> {
    return Edit{.said = "starting",
                .spec = {{"powerState", "Running"}},
                .reached = is_ready,
                .verdict = ready_verdict,
                .condition = "Ready"};
  });
}

Outcome<> stop(const PowerOptions& options, const Session& session) {
  return edit_all(options, session, [](const api::Object&) -> Outcome<Edit> {
    return Edit{.said = "stopping",
                .spec = {{"powerState", "Stopped"}},
                .reached = is_stopped,
                .verdict = stop_verdict,
                .condition = "Running"};
  });
}

Outcome<> restart(const PowerOptions& options, const Session& session) {
  return edit_all(options, session, [](const api::Object& before) -> Outcome<Edit> {
    if (vm_of(before).spec.power_state == api::PowerState::Stopped) {
      const auto name = printable(before.meta.name);
      return give_up(
          {kExitFailed, fmt::format("virtualmachine/{0} is to be stopped, so there is nothing to restart; start it with: "
                                    "bangerctl start {0}",
                                    name)});
    }
    SystemRandom random;
    return Edit{.said = "restarting",
                .spec = {{"restartNonce", random_hex(random, 16)}},
                .reached = [run = run_of(vm_of(before).status)](
                               const api::Object& after,
                               const api::Object& now) { return is_ready(after, now) && run_of(vm_of(now).status) != run; },
                .verdict = ready_verdict,
                .condition = "Ready"};
  });
}

}  // namespace banger::cli
